"""Attempts, from their start to their durable checkpoints."""
