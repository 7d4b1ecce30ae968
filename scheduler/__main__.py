"""The scheduler's command line: ``python -m scheduler [VERB] SWEEP.yaml …``; without a verb, run."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

VERBS = {
    "run": "run a sweep, or resume it (the default)",
    "status": "what is done, runs, waits and failed, and why",
    "tail": "a task's log; -f follows it",
    "retry": "forget failures, so that they are tried again",
    "devices": "every device, idle or not, and the reason",
}
EXAMPLE = """\
example:
  python -m scheduler sweeps/tiny.yaml           run a sweep, or resume it
  python -m scheduler status sweeps/tiny.yaml    see how it stands
  python -m scheduler run --help                 every option of a verb"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        parser = _overview()
        parser.parse_args(words)
        parser.error("a sweep file or a verb is missing (--help shows them)")
    if words[0] not in VERBS:
        _refuse_misspelt_verb(words[0])
        words.insert(0, "run")
    verb = words.pop(0)
    module = importlib.import_module(f"scheduler.commands.{verb}")
    summary = VERBS[verb]
    parser = argparse.ArgumentParser(
        prog="python -m scheduler" if verb == "run" else f"python -m scheduler {verb}",
        description=summary[0].upper() + summary[1:] + ".",
        epilog=module.EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return _run(module.run, parser.parse_intermixed_args(words))


def _overview() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scheduler",
        usage="python -m scheduler [VERB] SWEEP.yaml [options]",
        description="Run sweeps of jobs on idle GPUs, with file checkpoints.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_argument_group("verbs")
    for verb, summary in VERBS.items():
        verbs.add_argument(verb, nargs="?", help=summary)
    return parser


def _refuse_misspelt_verb(word: str) -> None:
    import difflib

    near = difflib.get_close_matches(word, VERBS, n=1)
    if near and not os.path.exists(word):
        _overview().error(f"there is no verb {word!r}; did you mean {near[0]}?")


def _run(verb: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    from scheduler.commands.common import UserError
    from scheduler.output import discard_output

    try:
        code = verb(arguments)
        sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        discard_output()
        code = 0
    return code


if __name__ == "__main__":
    sys.exit(main())
