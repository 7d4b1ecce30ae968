"""Reading JSON and JSON lines without trusting them.

What others can write may hold anything that JSON allows, and what Python's reader allows beyond it. What
comes from here is bounded: files, lines and nesting have a limit, and a number is one that can be reckoned
with. One that is none (NaN, Infinity), or larger than any quantity there is, reads as null: not known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from scheduler.storage.regular_files import AS_DATA, open_binary, open_descriptor

LARGEST = 1e100  # of a number; sums and products of some of them are still finite
_MOST_DIGITS = 100  # of a whole number
_MOST_LEVELS = 100  # of nesting; what goes through a value by recursion must not run out of stack
_CHUNK = 1 << 14  # bytes; most checkpoints are shorter
_LARGEST_FILE = (
    1 << 24
)  # bytes, of a checkpoint or an attempts file; ten thousand attempts take less
_LARGEST_RESULTS = 1 << 31  # bytes of what a worker measured; read line by line
_LONGEST_LINE = 1 << 26  # bytes; a snapshot of a hundred thousand tasks takes less


def read_object(path: Path | str) -> dict[str, Any] | None:
    """Return the JSON object in ``path``, or None if there is no file or no such object in it."""
    try:
        descriptor = open_descriptor(path)
    except OSError:
        return None
    try:
        data = chunk = os.read(descriptor, _CHUNK)
        if len(chunk) == _CHUNK:  # a file that is shorter has ended: no second call to learn it
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data += file.read(_LARGEST_FILE)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return parse_object(data) if len(data) <= _LARGEST_FILE else None


def read_start(entry: os.DirEntry[str]) -> bytes:
    """Return a regular file's first bytes: all of it unless it is long; nothing where it cannot be read."""
    if not entry.is_file(follow_symlinks=False):
        return b""
    try:
        descriptor = os.open(entry.path, AS_DATA)  # as its folder says already, it is regular
    except OSError:
        return b""
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object that ``data`` is, or None."""
    try:
        content = _decode(data.decode())  # decoded here: json.loads would look for UTF-16 first
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    if data.count(b"[") + data.count(b"{") > _MOST_LEVELS and _is_deep(content):
        return None
    return content


def read_results(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a results file, which may be larger than any of our own."""
    return read_objects(path, _LARGEST_RESULTS)


def read_objects(path: Path, largest: int = _LARGEST_FILE) -> Iterator[dict[str, Any]]:
    """Yield the objects of an attempts file; lines that are none (cut off, overwritten) are passed over.

    Args:
        path: of the file.
        largest: bytes; of one that is larger nothing is read.
    """
    try:
        file = open_binary(path)
    except OSError:
        return
    with file:
        if os.fstat(file.fileno()).st_size > largest:
            return
        for line in lines_of(file):
            if (content := parse_object(line)) is not None:
                yield content


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file's lines; of one that is too long to be read, its end alone, which is no JSON object."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            line = b"\n"
        yield line


def as_number(value: object) -> float | None:
    """Return what JSON calls a number, or None; true and false are none, nor is what is beyond all bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST <= value <= LARGEST else None


def _real(text: str) -> float | None:
    number = float(text)
    return number if -LARGEST <= number <= LARGEST else None


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _is_deep(content: object) -> bool:
    level = [content]
    for _ in range(_MOST_LEVELS):
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
            if isinstance(part, dict | list)
        ]
    return bool(level)


_decode = json.JSONDecoder(
    parse_int=_whole,
    parse_float=_real,
    parse_constant=lambda _: None,
).decode
