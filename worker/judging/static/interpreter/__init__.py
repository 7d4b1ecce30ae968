"""An abstract interpreter of Python: expressions, calls, definitions, statements."""
