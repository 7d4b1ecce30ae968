"""One task: what is measured of it, and in which order."""
