"""Commands that read what was measured, and measure nothing."""
