"""Generate, time and score: the one way by which everything is measured."""
