"""The lock that keeps a second dispatcher off a sweep: an flock, which no crash leaves behind.

Anybody may remove its file at any time. The lock is then that of a file without a name, and whoever makes
the file anew has the sweep; `SweepLock.is_ours` notices, and makes it anew itself if nobody was quicker.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from scheduler.storage.regular_files import open_descriptor


class SweepHeld(Exception):  # noqa: N818  # no error: the sweep is another process's
    """Another process holds the sweep."""


class LocksNotKept(OSError):  # noqa: N818  # what is true of a file system
    """The file system knows no flock, so nothing could keep a second dispatcher out."""


class SweepLock:
    """A sweep that is this process's own until `release`, or until its file is another's."""

    def __init__(self, path: Path) -> None:
        """Take the lock, without waiting.

        Raises:
            SweepHeld: another process has it.
            LocksNotKept: nobody can have it.
            OSError: its file cannot be made or opened.
        """
        self._path = path
        self._descriptor = _lock(path)

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
        return True

    def release(self) -> None:
        """Let others have the sweep; the file stays, for whoever removes one lets two hold it."""
        os.close(self._descriptor)


def _lock(path: Path) -> int:
    """Return a descriptor that holds the lock of the file with that name."""
    while True:
        descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise SweepHeld from None
            raise LocksNotKept(error.errno, error.strerror, str(path)) from error
        if _is_named(descriptor, path):
            return descriptor
        os.close(descriptor)  # its name was removed between opening and locking


def _is_named(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    return False
