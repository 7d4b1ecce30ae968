"""On how many prompts an adaptive search looks at its configurations, and how it times them. No torch."""

from __future__ import annotations

import math

from worker.config.settings import Timing

FIRST_LOOK = 8
_GROWTH = 4
# Rounds in which speeds are taken, before anything is known of quality. What is chosen is timed
# with all the care that the settings ask for when it is confirmed.
_ROUNDS = 2
_BLOCK = 8
# How many are confirmed at most, one after the other, until one is.
MOST_CONFIRMED = 3


def looks(most: int, first: int = FIRST_LOOK) -> tuple[int, ...]:
    """Return after how many prompts there is a look: 8, 32, 128, …, and after all of them."""
    found = []
    look = first
    # one right before the last would cost an error and add little
    while look * 2 <= most:
        found.append(look)
        look *= _GROWTH
    return (*found, most)


def first_look(most: int, batch_size: int) -> int:
    """Return on how many prompts: whole batches, so that no image is made twice."""
    return min(most, batch_size * math.ceil(FIRST_LOOK / batch_size))


def quick(timing: Timing) -> Timing:
    """Return how speeds are taken at the first look."""
    changed = {"repeats": _ROUNDS, "block": _BLOCK, "precision": None, "at_most": None}
    return timing.model_copy(update=changed | {"energy": False, "device_time": False})
