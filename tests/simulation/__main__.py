"""Run seeds (``python -m tests.simulation --seeds 100000``), or one (``--seed 17 --verbose``)."""

from __future__ import annotations

import sys

from tests.simulation.scenario import build, live_through
from tests.simulation.seeds import parser_of, run_seeds


def main() -> int:
    """Run what the command line asks for; return 1 if a promise was broken."""
    return run_seeds(parser_of("tests.simulation", __doc__).parse_args(), build, live_through)


if __name__ == "__main__":
    sys.exit(main())
