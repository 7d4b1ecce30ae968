"""What operators, containers, attributes and builtins do to values that may be unknown."""
