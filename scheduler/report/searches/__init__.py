"""How searches decided what to measure, as a section of the page."""
