"""The report: one HTML file that shows what was measured and how the run went, and the same as tables."""
