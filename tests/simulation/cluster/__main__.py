"""Run seeds (``python -m tests.simulation.cluster --seeds 10000``), or large clusters (``--nodes 1000``)."""

from __future__ import annotations

import sys
from functools import partial

from tests.simulation.cluster.scenario import (
    build,
    build_large,
    live_through,
    live_through_large,
)
from tests.simulation.seeds import parser_of, run_seeds


def main() -> int:
    """Run what the command line asks for; return 1 if a promise was broken."""
    parser = parser_of("tests.simulation.cluster", __doc__)
    parser.add_argument("--nodes", type=int, help="of 8 GPUs each; two tasks for each GPU")
    options = parser.parse_args()
    if options.nodes is None:
        return run_seeds(options, build, live_through)
    return run_seeds(options, partial(build_large, nodes=options.nodes), live_through_large)


if __name__ == "__main__":
    sys.exit(main())
