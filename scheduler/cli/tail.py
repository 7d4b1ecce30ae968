"""``python -m scheduler tail``: a task's log; with -f it is followed, across attempts."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from scheduler.cli.common import UserError
from scheduler.cli.locate import load
from scheduler.cli.retry import check_names
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import NotRegular, open_binary

LOOK_AGAIN = 0.2  # seconds


def run(arguments: argparse.Namespace) -> int:
    """Print the log."""
    sweep, paths = load(arguments)
    check_names(sweep, [arguments.task])
    log = paths.log(arguments.task)
    if not os.path.lexists(log) and not arguments.follow:
        raise UserError(
            f"{log}: there is no log yet; the task has not been started (-f waits for it)",
            exit_code=1,
        )
    try:
        follow(paths, arguments.task, arguments.lines, forever=arguments.follow)
    except NotRegular as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    except KeyboardInterrupt:
        return 130
    return 0


def follow(paths: SweepPaths, task: str, lines: int | None, *, forever: bool) -> None:
    """Copy the log to standard output, and then those of the attempts that follow, each to its end."""
    out = sys.stdout.buffer
    log = paths.log(task)
    for number, file in enumerate(_logs(paths, task)):
        if number:
            out.write(b"==> next attempt <==\n")
        elif lines is not None:
            file.seek(_start_of_last(file.read(), lines))
        while True:
            over = _is_replaced(log, file)
            while chunk := file.read(1 << 16):
                out.write(chunk)
            out.flush()
            if not forever:
                return
            if over:
                break
            time.sleep(LOOK_AGAIN)


def _logs(paths: SweepPaths, task: str) -> Iterator[BinaryIO]:
    """Yield the newest attempt's log, then each that follows; a short attempt's has its number by then."""
    log = paths.log(task)
    passed = max(_kept(log), default=0)
    file: BinaryIO | None = None
    while True:
        later = [number for number in _kept(log) if number > passed]
        following = _open(paths.old_log(task, later[0]) if later else log)
        if following is None:
            time.sleep(LOOK_AGAIN)
            continue
        told = file is not None and os.path.sameopenfile(file.fileno(), following.fileno())
        renamed = not later and any(number > passed for number in _kept(log))  # while we looked
        passed = later[0] if later else passed
        if told or renamed:
            following.close()
            time.sleep(LOOK_AGAIN)
            continue
        if file is not None:
            file.close()  # only now: as long as it is open, no other file gets its inode
        file = following
        yield file


def _kept(log: Path) -> list[int]:
    """Return the numbers under which logs of earlier attempts are kept, the oldest first."""
    names = os.listdir(log.parent) if log.parent.exists() else []
    ends = [name.removeprefix(f"{log.name}.") for name in names if name.startswith(f"{log.name}.")]
    return sorted(int(end) for end in ends if end.isdecimal())


def _open(path: Path) -> BinaryIO | None:
    try:
        return open_binary(path)
    except FileNotFoundError:
        return None


def _is_replaced(log: Path, file: BinaryIO) -> bool:
    try:
        return not os.path.samestat(log.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False  # renamed; the next attempt's log comes soon


def _start_of_last(content: bytes, lines: int) -> int:
    if lines == 0:
        return len(content)
    position = len(content) - content.endswith(b"\n")
    for _ in range(lines):
        position = content.rfind(b"\n", 0, position)
        if position < 0:
            return 0
    return position + 1
