"""Logs as people read them: made harmless for a terminal, from their ends, and as they grow."""
