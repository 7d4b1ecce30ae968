"""The report's pictures: the same prompt and seed under baseline and configuration, side by side."""
