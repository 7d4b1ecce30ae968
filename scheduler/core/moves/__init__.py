"""Two layers below core.py: what follows from how attempts end, and what people ask for."""
