"""flocks: taken without waiting, and looked at without getting into anybody's way.

Whether a lock is held can only be learnt by taking it. Who merely looks takes it shared, for a moment; who
takes it for good, and is refused, finds out by the same means whether the other one only looks.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from scheduler.storage.regular_files import open_descriptor

_LOOKERS_LEAVE = 10.0  # seconds; a look takes microseconds, unless whoever looks was stopped in it
_LOOK_AGAIN = 0.001  # seconds


def take(descriptor: int) -> bool:
    """Take a file's lock, without waiting for whoever has it for good; say whether it was free.

    Raises:
        OSError: the file system keeps no locks.
    """
    patience = time.monotonic() + _LOOKERS_LEAVE
    while not _lock(descriptor, fcntl.LOCK_EX):
        if not _lock(descriptor, fcntl.LOCK_SH) or time.monotonic() > patience:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # somebody only looks
        time.sleep(_LOOK_AGAIN)
    return True


def is_held(path: Path) -> bool | None:
    """Say whether a living process has a file's lock; None: no such file, or it cannot be looked at."""
    try:
        descriptor = open_descriptor(path)
    except OSError:
        return None
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
