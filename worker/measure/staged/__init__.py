"""A task in two stages: one that is timed, alone on its device, and one that may share it."""
