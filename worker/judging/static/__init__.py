"""Reading a file without running it: what its text says that it builds."""
