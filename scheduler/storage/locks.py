"""flocks, which no crash leaves behind: taken without waiting, looked at without getting into anybody's way.

Whether a lock is held can only be learnt by taking it. Who merely looks takes it shared, for a moment; who
takes it for good, and is refused, finds out by the same means whether the other one only looks.

The lock of a sweep keeps a second dispatcher off it. Anybody may remove its file at any time. The lock is
then that of a file without a name, and whoever makes the file anew has the sweep; `SweepLock.is_ours`
notices, and makes it anew itself if nobody was quicker.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scheduler.storage.regular_files import open_descriptor

_LOOKERS_LEAVE = 10.0  # seconds; a look takes microseconds, unless whoever looks was stopped in it
_LOOK_AGAIN = 0.001  # seconds


class SweepHeld(Exception):  # noqa: N818  # no error: the sweep is another process's
    """Another process holds the sweep."""


class LocksNotKept(OSError):  # noqa: N818  # what is true of a file system
    """The file system knows no flock, so nothing could keep a second dispatcher out."""


class SweepLock:
    """A sweep that is this process's own until `release`, or until its file is another's."""

    def __init__(self, path: Path, holder: Mapping[str, Any] | None = None) -> None:
        """Take the lock, without waiting.

        Args:
            path: its file.
            holder: what the file is to say of this process, for those who look at it.

        Raises:
            SweepHeld: another process has it.
            LocksNotKept: nobody can have it.
            OSError: its file cannot be made or opened.
        """
        self._path = path
        self.holder: Mapping[str, Any] = holder or {}
        self._descriptor = _lock(path)
        self._sign()

    def is_ours(self) -> bool:
        """Say whether no other process has the sweep; a file that was removed is made anew.

        Where it cannot be made, no other process can have it either.
        """
        if _is_named(self._descriptor, self._path):
            return True
        try:
            descriptor = _lock(self._path)
        except SweepHeld:
            return False
        except OSError:
            return True
        self.release()
        self._descriptor = descriptor
        self._sign()
        return True

    def _sign(self) -> None:
        line = json.dumps(self.holder).encode() + b"\n" if self.holder else b""
        if os.fstat(self._descriptor).st_nlink != 1:  # by another name it is somebody's file
            return
        with suppress(OSError):  # no room: nobody needs to read it for the lock to hold
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, line, 0)

    def tell(self, **changes: object) -> None:
        """Have the file say something else of this process, for those who look at it."""
        self.holder = {**self.holder, **changes}
        self._sign()

    def release(self) -> None:
        """Let others have the sweep; the file stays, for whoever removes one lets two hold it."""
        os.close(self._descriptor)


def _lock(path: Path) -> int:
    """Return a descriptor that holds the lock of the file with that name."""
    while True:
        descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT)
        try:
            taken = take(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise LocksNotKept(error.errno, error.strerror, str(path)) from error
        if not taken:
            os.close(descriptor)
            raise SweepHeld
        if _is_named(descriptor, path):
            return descriptor
        os.close(descriptor)  # its name was removed between opening and locking


def _is_named(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    return False


def take(descriptor: int) -> bool:
    """Take a file's lock, without waiting for whoever has it for good; say whether it was free.

    Raises:
        OSError: the file system keeps no locks.
    """
    patience = time.monotonic() + _LOOKERS_LEAVE
    while not _try(descriptor, fcntl.LOCK_EX):
        if not _try(descriptor, fcntl.LOCK_SH) or time.monotonic() > patience:
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
        return not _try(descriptor, fcntl.LOCK_SH)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
