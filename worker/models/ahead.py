"""What was loaded into host memory before its device was known; each thing can be taken once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from worker.types import Opaque

T = TypeVar("T")


class _Kept(NamedTuple):
    key: Hashable
    thing: Opaque


# by kind: of each there is one at most
_kept: dict[str, _Kept] = {}


def keep(kind: str, key: Hashable, thing: object) -> None:
    """Keep what was loaded.

    Args:
        kind: ``pipeline``, ``scorer`` or ``captions``.
        key: everything that it depends on.
        thing: the object.
    """
    _kept[kind] = _Kept(key, thing)


def is_kept(kind: str) -> bool:
    """Say whether something of a kind was loaded ahead and not taken yet."""
    return kind in _kept


def taken_or(kind: str, key: Hashable, load: Callable[[], T]) -> T:
    """Return what was loaded ahead if it is the same, else load it.

    It is not kept any longer, whichever it was: one that is not asked for would only take memory.
    """
    kept = _kept.pop(kind, None)
    if kept is not None and kept.key == key:
        thing: T = kept.thing
        return thing
    del kept
    return load()


def files_below(place: str) -> tuple[tuple[object, ...], ...]:
    """Return what tells each file from one that takes its place: what a key says of a folder, or of a file.

    Looked at is what a model is read from: a folder's files and those of its folders. Links are followed. A
    file that was put in place of another, with its size and its time, has another inode; one that was written
    over has another time of change, which nobody can set.
    """
    root = Path(place).expanduser()
    found = []
    for path in sorted([root, *root.glob("*"), *root.glob("*/*")]):
        with suppress(OSError):  # if it is gone, loading will say so
            status = path.stat()
            of_file = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            found.append((str(path), *of_file))
    return tuple(found)
