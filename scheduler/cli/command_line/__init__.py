"""Which commands there are, and what each takes."""
