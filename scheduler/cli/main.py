"""The command line ``python -m scheduler [VERB] SWEEP.yaml …``; without a verb, run.

What a verb takes is said here and what it does in commands/, so that --help loads nothing heavy.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from scheduler.views.streams import discard_output, open_streams, reader_may_leave

Arguments = argparse._ActionsContainer  # a parser, or a group of its arguments


def _add_sweep(arguments: Arguments) -> None:
    arguments.add_argument("sweep", metavar="SWEEP.yaml", type=Path, help="the sweep file")
    arguments.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="where checkpoints/ and logs/ lie (default: the current folder)",
    )


def _add_run(arguments: Arguments) -> None:
    _add_sweep(arguments)
    arguments.add_argument(
        "--dry-run", action="store_true", help="print the plan and start nothing"
    )
    arguments.add_argument(
        "--no-adopt",
        action="store_true",
        help="stop attempts that an earlier dispatcher left running",
    )
    arguments.add_argument("--plain", action="store_true", help="print lines even on a terminal")


def _add_status(arguments: Arguments) -> None:
    _add_sweep(arguments)
    arguments.add_argument("--json", action="store_true", help="print JSON, for scripts")


def _add_tail(arguments: Arguments) -> None:
    _add_sweep(arguments)
    arguments.add_argument("task", metavar="TASK", help="the task's id")
    arguments.add_argument(
        "-f", "--follow", action="store_true", help="go on as the log grows; Ctrl-C ends it"
    )
    arguments.add_argument(
        "-n", "--lines", type=_count, metavar="N", help="begin with the last N lines (default: all)"
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def _add_retry(arguments: Arguments) -> None:
    _add_sweep(arguments)
    arguments.add_argument(
        "tasks", metavar="TASK", nargs="*", help="these tasks only (default: all)"
    )
    arguments.add_argument(
        "--force",
        action="store_true",
        help="forget completions too: set aside .done and measurements",
    )


def _add_devices(arguments: Arguments) -> None:
    arguments.add_argument(
        "sweep",
        metavar="SWEEP.yaml",
        type=Path,
        nargs="?",
        help="judge by this sweep's devices section",
    )


class Verb(NamedTuple):
    """What --help says of a verb, and what it takes."""

    summary: str
    add_arguments: Callable[[Arguments], None]
    example: str


VERBS = {
    "run": Verb(
        "run a sweep, or resume it (the default)",
        _add_run,
        """\
  python -m scheduler sweeps/tiny.yaml              run it; run it again to go on after anything
  python -m scheduler sweeps/tiny.yaml --dry-run    print the plan, start nothing

exit codes: 0 every task completed, 1 some failed for good, 2 wrong command line or sweep file,
3 another dispatcher holds the sweep, 130 interrupted.
Ctrl-C once: start nothing new, let running attempts end; twice: stop them. All of it can be resumed.""",
    ),
    "status": Verb(
        "what is done, runs, waits and failed, and why",
        _add_status,
        """\
  python -m scheduler status sweeps/tiny.yaml
  python -m scheduler status sweeps/tiny.yaml --json | jq '.tasks[] | select(.state == "failed")'""",
    ),
    "tail": Verb(
        "a task's log; -f follows it",
        _add_tail,
        "  python -m scheduler tail sweeps/tiny.yaml SHAPES_SD15_DDIM_6 -f",
    ),
    "retry": Verb(
        "forget failures, so that they are tried again",
        _add_retry,
        """\
  python -m scheduler retry sweeps/tiny.yaml                     forget every failure
  python -m scheduler retry sweeps/tiny.yaml SHAPES_SD15_DDIM_6  forget this one's
  python -m scheduler retry sweeps/tiny.yaml --force             forget completions and results too""",
    ),
    "devices": Verb(
        "every device, idle or not, and the reason",
        _add_devices,
        """\
  python -m scheduler devices
  python -m scheduler devices sweeps/sdxl.yaml    by that sweep's rules (devices: …)""",
    ),
}
OVERVIEW = """\
example:
  python -m scheduler sweeps/tiny.yaml           run a sweep, or resume it
  python -m scheduler status sweeps/tiny.yaml    see how it stands
  python -m scheduler status --help              what a verb takes"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    open_streams()
    try:
        verb, arguments = _understand(list(sys.argv[1:] if argv is None else argv))
    except SystemExit:
        with reader_may_leave():
            sys.stdout.flush()  # what --help printed
        raise
    return _run(verb, arguments)


def _understand(words: list[str]) -> tuple[str, argparse.Namespace]:
    """Return the verb and what it was given.

    Raises:
        SystemExit: as argparse does, after --help or a mistake.
    """
    if not words or words[0] in ("-h", "--help"):
        parser = _overview()
        if words:
            parser.print_help()
            parser.exit()
        parser.error("a sweep file or a verb is missing (--help shows them)")
    if words[0] not in VERBS:
        _refuse_unknown_verb(words[0])
        words.insert(0, "run")
    verb = words.pop(0)
    parser = _parser(verb)
    arguments, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        parser.error(_about(unknown, parser))
    return verb, arguments


def _parser(verb: str) -> argparse.ArgumentParser:
    summary = VERBS[verb].summary
    parser = argparse.ArgumentParser(
        prog="python -m scheduler" if verb == "run" else f"python -m scheduler {verb}",
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n{VERBS[verb].example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    VERBS[verb].add_arguments(parser)
    return parser


def _overview() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scheduler",
        usage="python -m scheduler [VERB] SWEEP.yaml [options]",
        description="Run sweeps of jobs on idle GPUs, with file checkpoints.",
        epilog=OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_argument_group("verbs")
    for name, verb in VERBS.items():
        verbs.add_argument(name, nargs="?", help=verb.summary)
    _add_run(parser.add_argument_group("what run takes"))
    return parser


def _refuse_unknown_verb(word: str) -> None:
    """End with 2 if the first word can only be meant as a verb: it looks like no file, and is none."""
    if word.startswith("-") or "." in word or "/" in word or os.path.lexists(word):
        return
    _overview().error(f"there is no verb {word!r}{_nearest(word, VERBS)}")


def _about(unknown: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """Return what is said of words that a verb does not take."""
    option = next((word for word in unknown if word.startswith("-")), None)
    if option is None:
        return f"too many arguments: {' '.join(unknown)}"
    name = option.partition("=")[0]
    return f"there is no option {name!r}{_nearest(name, parser._option_string_actions)}"


def _nearest(word: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(names)}"


def _run(verb: str, arguments: argparse.Namespace) -> int:
    module = importlib.import_module(f"scheduler.cli.{verb}")
    from scheduler.cli.common import UserError

    try:
        code: int = module.run(arguments)
        sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        discard_output()
        code = 0
    except OSError as error:  # one that names no file is standard output's
        discard_output()
        print(f"{error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        code = 2
    return code
