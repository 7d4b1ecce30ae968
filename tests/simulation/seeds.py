"""Seed after seed, from a command line or in a test; a broken one is told, and how to replay it."""

from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

import pytest

_MOST_BROKEN = 10


def parser_of(module: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command that runs seeds."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--seed", type=int, help="run this one seed")
    parser.add_argument("--seeds", type=int, default=2000, help="run so many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="tell the whole story of each seed")
    return parser


def run_seeds(
    options: argparse.Namespace, build: Callable[[int], Any], live: Callable[[Any, int], object]
) -> int:
    """Live through the seeds that the command line asks for; return 1 if a promise was broken.

    Args:
        options: what the parser found.
        build: makes a seed's world.
        live: takes it to its end, or raises.
    """
    first, one = options.first, options.seed
    seeds = [one] if one is not None else range(first, first + options.seeds)
    begun, broken = time.perf_counter(), 0
    for seed in seeds:
        world = build(seed)
        try:
            live(world, seed)
        except Exception as error:
            broken += 1
            print(f"seed {seed}: {type(error).__name__}: {error}")
            if options.verbose:
                traceback.print_exc()
            if broken == _MOST_BROKEN:
                break
        if options.verbose:
            print(world.tell_story(last=2000))
    print(f"{len(seeds)} seeds in {time.perf_counter() - begun:.1f} s, {broken} broken")
    return 1 if broken else 0


def live_through_all(
    seeds: Iterable[int],
    module: str,
    build: Callable[[int], Any],
    live: Callable[[Any, int], object],
) -> None:
    """Live through seeds in a test, which fails at the first that is broken.

    Args:
        seeds: the seeds.
        module: by which one is replayed.
        build: makes a seed's world.
        live: takes it to its end, or raises.
    """
    for seed in seeds:
        world = build(seed)
        try:
            live(world, seed)
        except Exception as error:
            pytest.fail(
                f"seed {seed}: {error!r}\n{world.tell_story()}\n"
                f"replay: python -m {module} --seed {seed} --verbose"
            )
