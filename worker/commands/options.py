"""The flags that limit a judged program, the same for every command that runs one."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.judging.sandbox.sandbox import Limits


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=600.0,
        metavar="S",
        help="seconds for a file to build its pipeline (default: %(default)s)",
    )
    parser.add_argument(
        "--memory",
        type=_size,
        metavar="SIZE",
        help="memory for a file, e.g. 24GiB (default: half of what is free, at most 32GiB)",
    )


def limits_of(arguments: argparse.Namespace) -> Limits:
    """Return the limits that the command line sets."""
    from worker.judging.sandbox.sandbox import Limits

    if arguments.memory is None:
        return Limits(seconds=arguments.timeout)
    return Limits(seconds=arguments.timeout, memory=arguments.memory)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?) *([MG])iB", text.strip(), re.ASCII)
    size = 0 if match is None else round(float(match[1]) * {"M": 2**20, "G": 2**30}[match[2]])
    if size < 2**20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 24GiB or 800MiB")
    return size
