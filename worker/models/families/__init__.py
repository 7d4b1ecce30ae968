"""Families of pipelines, a file each: what they are made of, and how they are built and checked."""
