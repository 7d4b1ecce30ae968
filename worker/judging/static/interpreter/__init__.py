"""An abstract interpreter of Python: its state in one class, its handlers a module each."""
