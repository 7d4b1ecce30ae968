"""The form of a sweep file: its sections and keys, and what is said where a file breaks it."""
