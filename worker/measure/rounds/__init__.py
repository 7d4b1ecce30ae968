"""Rounds: every configuration of a block once, timed call by call."""
