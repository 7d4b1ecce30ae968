"""The files of an attempt as its supervisor opens, locks and writes them; standard library only."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time

TYPE_CHECKING = False  # as typing's; importing that would take a third of the start
if TYPE_CHECKING:
    from typing import Any


class Refused(Exception):  # noqa: N818  # an answer, not an error
    """The attempt must not be started; the argument says why."""


def lock_record(path: str, size: int) -> int:
    """Open and lock the attempts file at ``path``; return its descriptor, which the worker will inherit.

    Raises:
        Refused: another attempt holds it, or it has changed since the dispatcher read it as ``size``
            bytes: then another supervisor, of a dispatcher that died, has run the task meanwhile.
    """
    while True:
        # Appending, since the dispatcher adds lines of its own while the attempt runs.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        record = os.open(path, flags, 0o644)
        if not stat.S_ISREG(os.fstat(record).st_mode):
            os.close(record)
            raise OSError(errno.EINVAL, "is not a regular file", path)
        if not take(record):
            os.close(record)
            raise Refused("running")
        state = os.fstat(record)
        if state.st_nlink == 0:  # deleted between open and lock
            os.close(record)
            continue
        if state.st_size != size:
            os.close(record)
            raise Refused("changed")
        return record


def take(record: int) -> bool:
    """Take a file's lock; say whether nobody had it. As storage/locks.py: who only looks is waited for."""
    patience = time.monotonic() + 10.0
    while True:
        try:
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > patience:
                return False
        try:
            fcntl.flock(record, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(record, fcntl.LOCK_UN)
        time.sleep(0.001)


def append(record: int, line: dict[str, Any]) -> None:
    """Append one whole line to the attempts file, or nothing of it (a full disk)."""
    size = os.lseek(record, 0, os.SEEK_END)
    data = json.dumps(line).encode() + b"\n"
    try:
        if os.write(record, data) != len(data):
            raise OSError(28, "No space left on device")
    except OSError:
        os.ftruncate(record, size)
        raise


def rotate(log: str, number: int) -> None:
    """Keep the log of an earlier attempt as ``LOG.N``, N being that attempt's number or the next free one."""
    if not os.path.lexists(log):
        return
    keep = max(1, number - 1)
    while os.path.lexists(f"{log}.{keep}"):
        keep += 1
    os.rename(log, f"{log}.{keep}")


def open_log(path: str) -> int:
    """Create the attempt's log; return its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
    return os.open(path, flags, 0o644)
