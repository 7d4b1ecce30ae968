"""``python -m scheduler tail``: a task's log; with -f it is followed, across attempts."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from scheduler.cli.common import UserError, chosen
from scheduler.cli.locate import load
from scheduler.storage.attempts_file import is_locked
from scheduler.storage.locks import is_held
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import NotRegular, open_binary

LOOK_AGAIN = 0.2  # seconds
_BLOCK = 1 << 16  # bytes
_MOST_NAMED = 5  # tasks in one line


def run(arguments: argparse.Namespace) -> int:
    """Print the log."""
    sweep, paths = load(arguments)
    tasks = [task.id for task in chosen(sweep, [arguments.task])]
    if len(tasks) > 1:
        few = ", ".join(tasks[:_MOST_NAMED]) + (", …" if len(tasks) > _MOST_NAMED else "")
        raise UserError(f"{arguments.task!r} means {len(tasks)} tasks; a log is one's: {few}")
    (task,) = tasks
    log = paths.log(task)
    if not os.path.lexists(log) and not arguments.follow:
        raise UserError(
            f"{log}: there is no log yet; the task has not been started (-f waits for it)",
            exit_code=1,
        )
    try:
        follow(paths, task, arguments.lines, forever=arguments.follow)
    except NotRegular as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    except KeyboardInterrupt:
        return 130
    return 0


def follow(paths: SweepPaths, task: str, lines: int | None, *, forever: bool) -> None:
    """Copy the log to standard output, and then those of the attempts that follow, each to its end.

    It ends when nothing can write a log of the task any more, and says so.
    """
    out = sys.stdout.buffer
    log = paths.log(task)
    for number, file in enumerate(_logs(paths, task)):
        if number:
            out.write(b"==> next attempt <==\n")
        elif lines is not None:
            _go_to_last(file, lines)
        while True:
            ended = _how_it_ended(paths, task)  # first: what is seen then is all there will be
            over = _is_replaced(log, file)
            while chunk := file.read(_BLOCK):
                out.write(chunk)
            out.flush()
            if not forever:
                return
            if over:
                break
            if ended is not None:
                _say_ended(task, ended)
                return
            time.sleep(LOOK_AGAIN)


def _logs(paths: SweepPaths, task: str) -> Iterator[BinaryIO]:
    """Yield the newest attempt's log, then each that follows; a short attempt's has its number by then."""
    log = paths.log(task)
    passed = max(_kept(log), default=0)
    file: BinaryIO | None = None
    while True:
        ended = _how_it_ended(paths, task)
        later = [number for number in _kept(log) if number > passed]
        following = _open(paths.old_log(task, later[0]) if later else log)
        if following is None and ended is not None:
            _say_ended(task, ended)
            return
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


def _how_it_ended(paths: SweepPaths, task: str) -> str | None:
    """Return how a task ended of which no process can write a log any more, or None."""
    if is_held(paths.lock) or is_locked(paths.attempts(task)):
        return None
    if os.path.lexists(paths.done(task)):
        return "completed"
    return "failed" if os.path.lexists(paths.failed(task)) else None


def _say_ended(task: str, ended: str) -> None:
    print(f"{task} has {ended} and no dispatcher runs: nothing follows", file=sys.stderr)


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


def _go_to_last(file: BinaryIO, lines: int) -> None:
    """Go to where the last lines begin, reading back from the end, never more than a block at once."""
    position = file.seek(0, os.SEEK_END)
    if lines == 0 or position == 0:
        return
    file.seek(position - 1)
    if file.read(1) == b"\n":
        position -= 1  # it ends the last line
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        found = block.count(b"\n")
        if found >= lines:
            within = len(block)
            for _ in range(lines):
                within = block.rfind(b"\n", 0, within)
            file.seek(start + within + 1)
            return
        lines, position = lines - found, start
    file.seek(0)
