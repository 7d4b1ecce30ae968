"""The dispatcher: finds idle devices, runs attempts on them, judges the attempts."""
