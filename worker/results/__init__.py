"""The results file, its statistics and what they sum up to."""
