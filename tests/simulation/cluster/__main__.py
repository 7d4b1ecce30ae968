"""Run seeds (``python -m tests.simulation.cluster --seeds 10000``), or large clusters (``--nodes 1000``)."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.simulation.cluster.scenario import (
    build,
    build_large,
    live_through,
    live_through_large,
)


def main() -> int:
    """Run what the command line asks for; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.cluster", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one seed")
    parser.add_argument("--seeds", type=int, default=2000, help="run so many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--nodes", type=int, help="of 8 GPUs each; two tasks for each GPU")
    parser.add_argument("--verbose", action="store_true", help="tell the story of each seed")
    options = parser.parse_args()
    seeds = (
        [options.seed]
        if options.seed is not None
        else range(options.first, options.first + options.seeds)
    )
    begun, broken = time.perf_counter(), 0
    for seed in seeds:
        large = options.nodes is not None
        world = build_large(seed, options.nodes) if large else build(seed)
        try:
            (live_through_large if large else live_through)(world, seed)
        except Exception as error:
            broken += 1
            print(f"seed {seed}: {type(error).__name__}: {error}")
            if options.verbose:
                traceback.print_exc()
            if broken == 10:
                break
        if options.verbose:
            print(world.tell_story(last=2000))
    print(f"{len(seeds)} seeds in {time.perf_counter() - begun:.1f} s, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
