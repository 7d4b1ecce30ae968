"""What makes a pipeline faster: one file each, ``compose.py`` puts them together."""
