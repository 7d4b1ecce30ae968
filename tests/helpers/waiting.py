"""Waiting for a descriptor, or for what nothing tells of."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Protocol

PATIENCE = 60.0  # seconds; only a test that fails waits so long


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


def readable(what: int | _HasFileno, seconds: float | None = None) -> bool:
    """Wait until something can be read, or is over; False: not in that time.

    Unlike ``select`` it takes descriptors above 1023, of which a process that runs many tests may have some.
    """
    poll = select.poll()
    poll.register(what, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


def wait_until(holds: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait for something outside that nothing tells of."""
    until = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.01)
