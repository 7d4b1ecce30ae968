"""Measurements as runs of an experiment tracker: MLflow, Weights & Biases, Trackio."""
