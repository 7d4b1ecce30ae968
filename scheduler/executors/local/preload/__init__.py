"""A process that has loaded what attempts need, and forks them: no attempt waits for imports."""
