"""What Python's built-in and standard functions do: tables of small functions."""
