"""The matrix of a sweep file: what its axes mean, which tasks they make, what those are called."""
