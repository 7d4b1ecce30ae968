"""A sweep's lock while its dispatcher works: a file that somebody may remove at any time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class SweepLock:
    """Tells whether a sweep whose lock this process has taken is still its own."""

    def __init__(self, lock: Path) -> None:
        self._lock = lock
        self._locked = os.stat(lock)

    def is_ours(self) -> bool:
        """Say whether no other dispatcher has the sweep; a lock file that was removed is made anew.

        Where it cannot be made, no other dispatcher can have it either.
        """
        try:
            if os.path.samestat(os.stat(self._lock), self._locked):
                return True
        except FileNotFoundError:
            pass
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._locked = os.fstat(descriptor)  # never closed: it is ours until this process ends
        return True
