"""The ends of logs, found from behind; however long a log is, a bounded part of it is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from scheduler.storage.regular_files import open_binary
from scheduler.views.logs.text import harmless

_BLOCK = 1 << 16  # bytes
_MOST = (
    1 << 20
)  # bytes that are looked through for the beginnings of lines, and for each line wanted:
_MOST_OF_A_LINE = 1 << 12
_LAST = 1 << 12  # bytes, in which a log's last line is looked for
_QUOTED = 100  # characters of a line that a cause has, at most that are compared
_LEAST_QUOTED = 4


def go_to_last(file: BinaryIO, lines: int) -> bool:
    """Go to where the last lines begin; say whether all of them can be read from there.

    If not, it is amid a line: so far back one goes, and no further.
    """
    position = end = file.seek(0, os.SEEK_END)
    if lines == 0 or position == 0:
        return True
    least = max(0, end - _MOST - lines * _MOST_OF_A_LINE)
    file.seek(position - 1)
    if file.read(1) == b"\n":
        position -= 1  # it ends the last line
    while position > least:
        start = max(least, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        found = block.count(b"\n")
        if found >= lines:
            within = len(block)
            for _ in range(lines):
                within = block.rfind(b"\n", 0, within)
            file.seek(start + within + 1)
            return True
        lines, position = lines - found, start
    file.seek(least)
    return least == 0


def last_line(path: Path) -> str:
    """Return the last line of a log that is not empty, fit to be shown on a terminal."""
    return next(lines_from_behind(path, _LAST), "")


def line_that_shows(path: Path, cause: str) -> str:
    """Return the line of a log's end that a cause quotes, else the last one that is not empty."""
    last = ""
    for line in lines_from_behind(path, _BLOCK):
        if line[:_QUOTED] in cause and len(line) >= _LEAST_QUOTED:
            return line
        last = last or line
    return last


def lines_from_behind(path: Path, most: int) -> Iterator[str]:
    """Yield the lines of so many bytes at a log's end that are not empty, the last one first."""
    try:
        with open_binary(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            lines = file.read(most).decode(errors="replace").replace("\r", "\n").split("\n")
    except OSError:
        return
    plain = (harmless(line).replace("\t", " ").strip() for line in reversed(lines))
    yield from filter(None, plain)
