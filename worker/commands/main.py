"""The worker's command line: ``python -m worker COMMAND …``."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence

COMMANDS = {
    "search": "measure one task: the baseline, then every configuration of its search",
    "plan": "print a task's configurations, and what is left out and why",
    "answers": "say what results files hold under a bound (JSON on standard input)",
    "check": "say what is wrong with a sweep's tasks (JSON on standard input)",
    "compare": "compare what two code files build and call",
    "evaluate": "measure what a code file builds, with and without its accelerators",
    "judge": "judge one case: a folder with gt.py, gen.py and perhaps target.yaml",
}
# Values, not options, be they good ones or not: -5%, -1e3. By itself argparse knows -5 and -0.5 alone.
_NEGATIVE = re.compile(r"-(\.?\d|inf|nan)", re.IGNORECASE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        try:
            arguments = understand(list(sys.argv[1:] if argv is None else argv))
        except SystemExit:
            sys.stdout.flush()  # what --help printed
            raise
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    return code


def understand(words: list[str]) -> argparse.Namespace:
    """Return what the command was given, and in ``run`` what carries it out.

    Raises:
        SystemExit: as argparse does, after --help or a mistake.
    """
    from worker.errors import nearest

    parser = argparse.ArgumentParser(
        prog="python -m worker", description="Measure accelerated text-to-image pipelines."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    if chosen is not None and chosen not in COMMANDS:
        parser.error(f"there is no command {chosen!r}; {nearest(chosen, COMMANDS)}")
    for command, summary in COMMANDS.items():
        subparser = commands.add_parser(
            command,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command == chosen:  # only this one: some load what takes seconds
            module = importlib.import_module(f"worker.commands.{command}")
            module.add_arguments(subparser)
            subparser._negative_number_matcher = _NEGATIVE
            subparser.set_defaults(run=module.run)
            own = subparser
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        option = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
        if option is None:
            own.error(f"too many arguments: {' '.join(unknown)}")
        own.error(f"there is no option {option!r}; {nearest(option, own._option_string_actions)}")
    return arguments
