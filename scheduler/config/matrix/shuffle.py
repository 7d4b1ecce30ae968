"""A random order that stays as it is when tasks come or go."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def shuffled(tasks: Sequence[str], seed: int) -> list[str]:
    """Return tasks in an order that the seed gives; tasks that come or go leave the others' as it is."""
    return sorted(tasks, key=lambda task: hashlib.sha256(f"{seed} {task}".encode()).digest())
