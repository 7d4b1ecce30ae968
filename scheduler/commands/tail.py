"""``python -m scheduler tail``: a task's log; with -f it is followed, across attempts."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from scheduler.commands.common import UserError, add_sweep_arguments, load
from scheduler.commands.retry import check_names

EXAMPLE = """\
example:
  python -m scheduler tail sweeps/tiny.yaml SHAPES_SD15_DDIM_6 -f"""
LOOK_AGAIN = 0.2  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    add_sweep_arguments(parser)
    parser.add_argument("task", metavar="TASK", help="the task's id")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on as the log grows; Ctrl-C ends it"
    )
    parser.add_argument(
        "-n", "--lines", type=_count, metavar="N", help="begin with the last N lines (default: all)"
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Print the log."""
    sweep, paths = load(arguments)
    check_names(sweep, [arguments.task])
    log = paths.log(arguments.task)
    if not log.exists() and not arguments.follow:
        raise UserError(
            f"{log}: there is no log yet; the task has not been started (-f waits for it)",
            exit_code=1,
        )
    try:
        follow(log, arguments.lines, forever=arguments.follow)
    except KeyboardInterrupt:
        return 130
    return 0


def follow(log: Path, lines: int | None, *, forever: bool) -> None:
    """Copy the log to standard output; go on with the next attempt's log when it takes the name."""
    out = sys.stdout.buffer
    first = True
    while True:
        try:
            file = log.open("rb")
        except FileNotFoundError:
            time.sleep(LOOK_AGAIN)
            continue
        with file:
            if not first:
                out.write(b"==> next attempt <==\n")
            elif lines is not None:
                file.seek(_start_of_last(file.read(), lines))
            first = False
            inode = os.fstat(file.fileno()).st_ino
            while True:
                replaced = forever and _replaced(log, inode)
                while chunk := file.read(1 << 16):
                    out.write(chunk)
                out.flush()
                if not forever:
                    return
                if replaced:
                    break
                time.sleep(LOOK_AGAIN)


def _replaced(log: Path, inode: int) -> bool:
    try:
        return log.stat().st_ino != inode
    except FileNotFoundError:
        return False  # renamed; the next attempt's log comes soon


def _start_of_last(content: bytes, lines: int) -> int:
    position = len(content.rstrip(b"\n"))
    for _ in range(lines):
        position = content.rfind(b"\n", 0, position)
        if position < 0:
            return 0
    return position + 1
