"""Waiting for a descriptor."""

from __future__ import annotations

import select
from typing import Protocol


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


def readable(what: int | _HasFileno, seconds: float | None = None) -> bool:
    """Wait until something can be read, or is over; False: not in that time.

    Unlike ``select`` it takes descriptors above 1023, of which a process that runs many tests may have some.
    """
    poll = select.poll()
    poll.register(what, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))
