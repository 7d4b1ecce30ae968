"""Files and JSON that others wrote, read within bounds."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path

MAX_BYTES = 64 * 2**20  # of a file; results of a thousand configurations take less
_MOST_DIGITS = 100  # of a whole number; no quantity has more
_MOST_LEVELS = 100  # of nesting; what goes through a value by recursion must not run out of stack


def open_regular(path: Path | str, flags: int = os.O_RDONLY, *, links: bool = True) -> int:
    """Return a descriptor of a regular file; nothing is waited for, be it a FIFO that has no writer.

    Args:
        path: the file.
        flags: as for `os.open`.
        links: whether a link at its name is followed. Not for a file that others may have replaced.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    no_links = 0 if links else os.O_NOFOLLOW
    descriptor = os.open(path, flags | no_links | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return descriptor


def read_regular(path: Path | str, *, links: bool = True, most: int = MAX_BYTES) -> bytes:
    """Return the bytes of a regular file that has at most so many; see `open_regular`.

    Raises:
        OSError: it cannot be read, is no regular file, or is too large.
    """
    with os.fdopen(open_regular(path, links=links), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most // 2**20} MiB", str(path))
    return data


def parse_json(text: str | bytes) -> object:
    """Return what JSON's text stands for.

    Raises:
        ValueError: it is no JSON, nested more than a hundred levels deep, or holds a number that is
            none (NaN, Infinity) or is larger than any quantity there is.
    """
    try:
        content = _decode(text if isinstance(text, str) else text.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(content)
    return content


def _check_depth(content: object) -> None:
    level = [content]
    for _ in range(_MOST_LEVELS):
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
            if isinstance(part, dict | list)
        ]
    if level:
        raise ValueError("nested too deeply")


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError("a number is too large")
    return int(digits)


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


_decode = json.JSONDecoder(parse_int=_whole, parse_float=_real, parse_constant=_refuse).decode
