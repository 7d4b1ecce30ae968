"""State files opened without trusting what lies at their paths: regular files, and nothing else.

Workers, and whoever else may write into a sweep's folders, can put anything at the path of a state file: a
FIFO that blocks whoever opens it, a link to a device without end, or to a file of somebody else. So every
state file is opened here: links are not followed, nothing is waited for, and what is no regular file is an
error like any other. The folders above may be links; people keep checkpoints on another disk that way.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# Flags that follow no link and wait for nothing.
AS_DATA = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MODE = 0o644
_MOST_NAMES = 100  # for one draft; folders or drafts of others stand at all before
_KINDS: dict[Callable[[int], bool], str] = {
    stat.S_ISLNK: "a link",
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a FIFO",
    stat.S_ISSOCK: "a socket",
}


class NotRegular(OSError):  # noqa: N818  # what is true of a path
    """Something else than a regular file is there; the reason says what."""


def open_descriptor(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of the regular file at ``path``; with ``os.O_CREAT`` of a new one if none is there.

    Raises:
        NotRegular: it is a link, a folder, a FIFO, a socket or a device.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | AS_DATA, _MODE)
    except FileNotFoundError:
        raise
    except OSError:
        if (what := what_is_there(path)) is not None:
            raise _not_regular(what, path) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _not_regular(_kind(mode), path)
    return descriptor


def open_binary(path: Path | str) -> BinaryIO:
    """Open the regular file at ``path`` for reading; raises as `open_descriptor` does."""
    return os.fdopen(open_descriptor(path), "rb")


def open_own(path: Path, flags: int) -> int:
    """Return a descriptor of a file that is ours to write; what else stands at its name is set aside first.

    Raises:
        OSError: it cannot be opened, or what is there cannot be renamed.
    """
    try:
        return open_descriptor(path, flags | os.O_CREAT)
    except NotRegular:
        set_aside(path)
        return open_descriptor(path, flags | os.O_CREAT)


def create_draft(path: Path) -> tuple[int, Path]:
    """Create an empty file for writing at ``path``; return its descriptor and its path.

    It is locked until the descriptor is closed, so that nobody else who writes the same file takes it for
    a draft that a crash left. Such a one is removed, and so is a link. Where a folder stands, or the draft
    of somebody who is at it, the draft has the next free name.

    Raises:
        OSError: it cannot be created.
    """
    draft = path
    for number in range(1, _MOST_NAMES):
        descriptor = _create_locked(draft)
        if descriptor is None and _remove_left_behind(draft):
            descriptor = _create_locked(draft)
        if descriptor is not None:
            return descriptor, draft
        draft = path.with_name(f"{path.name}.{number}")
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _create_locked(path: Path) -> int | None:
    """Create a file and lock it; None: something of that name is there, or was taken for a leftover."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | AS_DATA, _MODE)
    except FileExistsError:
        return None
    if _lock(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def _remove_left_behind(path: Path) -> bool:
    """Remove what no living process writes; False: somebody does, or it cannot be removed."""
    descriptor = None
    try:
        try:
            descriptor = open_descriptor(path)
        except FileNotFoundError:
            # It has its name by now; a draft that is here next is another's.
            return True
        except OSError:
            pass
        if descriptor is not None and not _lock(descriptor, path):
            return False
        path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def _lock(descriptor: int, path: Path) -> bool:
    """Lock a file, and say whether it still has its name; then it keeps it, for as long as it is locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except (BlockingIOError, FileNotFoundError):
        return False


def set_aside(path: Path) -> Path:
    """Rename what does not hold to ``NAME.aside``, ``NAME.aside.2``, …; return the new name."""
    target = aside_name(path)
    path.rename(target)
    return target


def aside_name(path: Path) -> Path:
    """Return the name under which a file is set aside: the first of those that is free."""
    target = path.with_name(f"{path.name}.aside")
    number = 2
    while os.path.lexists(target):
        target = path.with_name(f"{path.name}.aside.{number}")
        number += 1
    return target


def make_way(path: Path) -> None:
    """Set aside what stands at the name of a file that is to be opened, unless that is a regular file.

    Raises:
        OSError: it cannot be renamed.
    """
    if what_is_there(path) is not None:
        set_aside(path)


def what_is_there(path: Path | str) -> str | None:
    """Return what stands at a path (a folder, a link, …), or None if that is a regular file or nothing."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return None
    return None if stat.S_ISREG(mode) else _kind(mode)


def _kind(mode: int) -> str:
    return next((name for is_kind, name in _KINDS.items() if is_kind(mode)), "a device")


def _not_regular(what: str, path: Path | str) -> NotRegular:
    return NotRegular(errno.EINVAL, f"is {what}, not a regular file", os.fspath(path))


def overwrite(path: Path, data: bytes) -> None:
    """Write a file over, without truncating it first: ext4 syncs a file that was emptied and written.

    Raises:
        OSError: it could not be written.
    """
    descriptor = open_own(path, os.O_WRONLY)
    try:
        written = os.write(descriptor, data)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.ftruncate(descriptor, written)
    finally:
        os.close(descriptor)
