"""The worker's command line: ``python -m worker VERB …``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

VERBS = {
    "search": "measure one task: the baseline, then every configuration of its search",
    "plan": "print a task's configurations, and what is left out and why",
    "check": "say what is wrong with a sweep's tasks (JSON on standard input)",
    "compare": "compare what two code files build and call",
    "evaluate": "measure what a code file builds, with and without its accelerators",
    "judge": "judge one case: a folder with gt.py, gen.py and perhaps target.yaml",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m worker", description="Measure accelerated text-to-image pipelines."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for verb, summary in VERBS.items():
        subparser = verbs.add_parser(
            verb,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if verb == chosen:
            module = importlib.import_module(f"worker.commands.{verb}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    try:
        try:
            arguments = parser.parse_args(words)
        except SystemExit:
            sys.stdout.flush()  # what --help printed
            raise
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
