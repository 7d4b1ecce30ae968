"""Flags that several commands share: numbers, and how a judged program is run and measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from worker.config import numbers

if TYPE_CHECKING:
    from worker.judging.measure_program import MeasureOptions
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


def add_measure_options(parser: argparse.ArgumentParser) -> None:
    """Declare how to run a file and measure what it builds."""
    parser.add_argument("--models", metavar="MAP.yaml", help="model ids to local folders")
    add_limits(parser)
    count, seed = number(numbers.COUNT), number(numbers.TASK_NUMBERS["seed"])
    parser.add_argument(
        "--num-samples", type=count, default=32, help="captions scored (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=count, help="images at once (default: the file's)")
    parser.add_argument(
        "--repeats", type=count, default=10, help="timed calls at least (default: %(default)s)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the first image (default: 0)")
    parser.add_argument("--captions", help="coco2017, or a .txt, .tsv or .jsonl file")
    parser.add_argument(
        "--clip", metavar="MODEL[:WEIGHTS]", help="the scorer, as open_clip names it"
    )


def measure_options_of(arguments: argparse.Namespace) -> MeasureOptions:
    """Return how carefully to measure, by the command line."""
    from worker.judging.measure_program import MeasureOptions

    clip = None
    if arguments.clip:
        model, _, weights = arguments.clip.rpartition(":")
        source = arguments.clip.startswith(("built:", "package:", "local-dir:"))
        clip = (arguments.clip, "") if source or not model else (model, weights)
    return MeasureOptions(
        num_samples=arguments.num_samples,
        batch_size=arguments.batch_size,
        repeats=arguments.repeats,
        seed=arguments.seed,
        captions=arguments.captions,
        clip=clip,
    )


# what a search section names, as a judged file's command does; the longer names first
_FLAGS = {
    "lower num_samples, confirm or search.stability": "lower --num-samples",
    "set search.dtype to": "let the file load it in",
    "search.captions": "--captions",
    "search.models": "--models",
    "search.clip.model": "--clip",
    "search.clip.pretrained": "--clip",
    "search.clip": "--clip",
}


def by_flags(message: str) -> str:
    """Return a sentence about a measurement with this command's flags for the section's keys."""
    for key, flag in _FLAGS.items():
        message = message.replace(key, flag)
    return message


def warner(command: str) -> Callable[[str], None]:
    """Return what prints a command's warnings on standard error."""
    return lambda sentence: print(f"{command}: {sentence}", file=sys.stderr, flush=True)
