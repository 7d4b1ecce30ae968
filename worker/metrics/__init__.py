"""Figures of quality and cost, one file each."""
