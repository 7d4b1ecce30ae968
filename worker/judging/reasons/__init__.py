"""Reasons as codes with arguments, and their texts in each language."""
