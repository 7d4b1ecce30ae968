"""State files opened without trusting what lies at their paths: regular files, and nothing else.

Workers, and whoever else may write into a sweep's folders, can put anything at the path of a state file: a
FIFO that blocks whoever opens it, a link to a device without end, or to a file of somebody else. So every
state file is opened here: links are not followed, nothing is waited for, and what is no regular file is an
error like any other. The folders above may be links; people keep checkpoints on another disk that way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# Flags that follow no link and wait for nothing.
AS_DATA = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MODE = 0o644
_MOST_NAMES = 100  # for one draft; folders that nobody can remove stand at all others
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
        if (what := _what_is_there(path)) is not None:
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

    What stands there is removed, be it a draft that a crash left or a link. A folder stays; then the
    draft has the next free name.

    Raises:
        OSError: it cannot be created.
    """
    draft, flags = path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for number in range(1, _MOST_NAMES):
        try:
            return os.open(draft, flags, _MODE), draft
        except FileExistsError:
            with contextlib.suppress(OSError):
                draft.unlink()
                return os.open(draft, flags, _MODE), draft
        draft = path.with_name(f"{path.name}.{number}")
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


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
    if _what_is_there(path) is not None:
        set_aside(path)


def _what_is_there(path: Path | str) -> str | None:
    """Return what stands at a path, or None if that is a regular file or nothing."""
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
