"""Flags that several commands share: numbers, and what limits a judged program."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from worker.config import numbers

if TYPE_CHECKING:
    from worker.judging.sandbox.sandbox import Limits

_Number = TypeVar("_Number")


def number(read: Callable[[str], _Number]) -> Callable[[str], _Number]:
    """Return a reader of ``config/numbers.py`` as argparse wants a flag's type."""

    def typed(text: str) -> _Number:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return typed


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--timeout",
        type=number(numbers.seconds),
        default=600.0,
        metavar="S",
        help="seconds for a file to build its pipeline (default: %(default)s)",
    )
    parser.add_argument(
        "--memory",
        type=number(numbers.size),
        metavar="SIZE",
        help="memory for a file, e.g. 24GiB (default: half of what is free, at most 32GiB)",
    )


def limits_of(arguments: argparse.Namespace) -> Limits:
    """Return the limits that the command line sets."""
    from worker.judging.sandbox.sandbox import Limits

    if arguments.memory is None:
        return Limits(seconds=arguments.timeout)
    return Limits(seconds=arguments.timeout, memory=arguments.memory)
