"""Pipelines and noise schedulers: the catalogue, loading, random weights, captions."""
