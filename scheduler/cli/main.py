"""The command line ``python -m scheduler [COMMAND] SWEEP.yaml …``; without a command, run.

What a command takes is said here and what it does in its own file, so that --help loads nothing heavy.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from scheduler.config.suggest import nearest
from scheduler.views.streams import discard_output, open_streams, reader_may_leave

# Before a word that argparse would take for an option, and that is none.
_MARK = "\0"
Arguments = argparse._ActionsContainer  # a parser, or a group of its arguments


def _add_sweep(arguments: Arguments) -> None:
    arguments.add_argument("sweep", metavar="SWEEP.yaml", type=_path, help="the sweep file")
    _add_root(arguments)


def _add_root(arguments: Arguments) -> None:
    arguments.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        help="where checkpoints/ and logs/ lie (default: the current folder)",
    )


def _add_only(arguments: Arguments) -> None:
    arguments.add_argument(
        "--only",
        metavar="CHOICE",
        action="append",
        default=[],
        help="these tasks alone: an id, a pattern ('SDXL_*') or values ('steps=50,sched=DD*'); repeatable",
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
    arguments.add_argument(
        "--snapshot",
        action="store_true",
        help="run workers from a copy of the current folder's code: edits do not matter meanwhile",
    )
    _add_only(arguments)
    arguments.add_argument("--plain", action="store_true", help="print lines even on a terminal")


def _add_status(arguments: Arguments) -> None:
    _add_sweep(arguments)
    _add_only(arguments)
    arguments.add_argument("--json", action="store_true", help="print JSON, for scripts")


def _add_measured(arguments: Arguments) -> None:
    """Say which measurements are asked for."""
    arguments.add_argument(
        "sweeps", metavar="SWEEP.yaml", type=_path, nargs="+", help="the sweep files"
    )
    _add_root(arguments)
    _add_only(arguments)
    arguments.add_argument(
        "--metric", type=_unmarked, metavar="NAME", help="whose loss (default: clip_score)"
    )


def _add_results(arguments: Arguments) -> None:
    _add_measured(arguments)
    arguments.add_argument(
        "--max-loss",
        type=_share,
        metavar="LOSS",
        help="the loss that is allowed: 1%% or 0.01 (default: as each task was measured)",
    )
    form = arguments.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="a line for each configuration")
    form.add_argument("--md", action="store_true", help="Markdown")
    form.add_argument("--json", action="store_true", help="JSON, for scripts")


def _add_report(arguments: Arguments) -> None:
    _add_measured(arguments)
    arguments.add_argument(
        "--output",
        type=_path,
        metavar="FILE.html",
        help="where to write it (default: SWEEP-report.html here); tables are written beside it",
    )
    arguments.add_argument("--open", action="store_true", help="show it in the browser")


def _share(text: str) -> float:
    text = _unmarked(text).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write 1% or 0.01")
    return share


def _add_tail(arguments: Arguments) -> None:
    _add_sweep(arguments)
    arguments.add_argument(
        "task", metavar="TASK", type=_unmarked, help="the task's id, or a choice of one"
    )
    arguments.add_argument(
        "-f", "--follow", action="store_true", help="go on as the log grows; Ctrl-C ends it"
    )
    arguments.add_argument(
        "-n", "--lines", type=_count, metavar="N", help="begin with the last N lines (default: all)"
    )


def _count(text: str) -> int:
    text = _unmarked(text)
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def _add_retry(arguments: Arguments) -> None:
    _add_sweep(arguments)
    arguments.add_argument(
        "tasks",
        metavar="TASK",
        nargs="*",
        type=_unmarked,
        help="these tasks only, each as --only has it (default: all)",
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
        type=_path,
        nargs="?",
        help="judge by this sweep's devices section",
    )


def _add_stop(arguments: Arguments) -> None:
    _add_sweep(arguments)
    arguments.add_argument(
        "tasks", metavar="TASK", nargs="+", type=_unmarked, help="the tasks' ids"
    )
    arguments.add_argument(
        "--fail",
        action="store_true",
        help="they have failed then, running or not (`retry` forgets it)",
    )


def _add_pause(arguments: Arguments) -> None:
    _add_sweep(arguments)
    arguments.add_argument(
        "--now", action="store_true", help="stop what runs, too; it is tried again later, uncharged"
    )


def _add_drain(arguments: Arguments) -> None:
    _add_sweep(arguments)
    arguments.add_argument(
        "devices",
        metavar="DEVICE",
        nargs="+",
        type=_unmarked,
        help="as `status` shows it: 0, cpu:1",
    )
    arguments.add_argument("--undo", action="store_true", help="use it again")


class Command(NamedTuple):
    """What --help says of a command, and what it takes."""

    summary: str
    add_arguments: Callable[[Arguments], None]
    example: str
    # The module of scheduler.cli that does it, where it is not called like the command.
    module: str | None = None


COMMANDS = {
    "run": Command(
        "run a sweep, or resume it (the default)",
        _add_run,
        """\
  python -m scheduler sweeps/tiny.yaml              run it; run it again to go on after anything
  python -m scheduler sweeps/tiny.yaml --dry-run    print the plan, start nothing
  python -m scheduler sweeps/tiny.yaml --only 'pipe=SHAPES_SD15,steps=6'    these tasks, no others

exit codes: 0 every task completed, 1 some failed for good or the first all failed alike (retries.stop_after),
2 wrong command line or sweep file, 3 another dispatcher holds the sweep, 130 interrupted.
Ctrl-C once: start nothing new, let running attempts end; twice: stop them;
a third time: leave at once, without waiting for their end. All of it can be resumed.""",
    ),
    "status": Command(
        "what is done, runs, waits and failed, and why",
        _add_status,
        """\
  python -m scheduler status sweeps/tiny.yaml
  python -m scheduler status sweeps/tiny.yaml --only 'steps=6'
  python -m scheduler status sweeps/tiny.yaml --json | jq '.tasks[] | select(.state == "failed")'""",
    ),
    "results": Command(
        "the best under a bound, from what was measured",
        _add_results,
        """\
  python -m scheduler results sweeps/tiny.yaml                  under the bound that it was measured for
  python -m scheduler results sweeps/tiny.yaml --max-loss 1%    under another one; measures nothing
  python -m scheduler results sweeps/*.yaml --csv > all.csv     every configuration of every task

exit codes: 0 there are measurements, 1 there are none yet, 2 wrong command line or sweep file.""",
        "measured.results",
    ),
    "report": Command(
        "an HTML file that shows what was measured",
        _add_report,
        """\
  python -m scheduler report sweeps/tiny.yaml                       writes tiny-report.html, .csv and .parquet
  python -m scheduler report sweeps/*.yaml --output all.html --open    several sweeps in one file

exit codes: 0 there are measurements, 1 there are none yet, 2 wrong command line or sweep file.""",
        "measured.report",
    ),
    "tail": Command(
        "a task's log; -f follows it",
        _add_tail,
        "  python -m scheduler tail sweeps/tiny.yaml SHAPES_SD15_DDIM_6 -f",
    ),
    "retry": Command(
        "forget failures, so that they are tried again",
        _add_retry,
        """\
  python -m scheduler retry sweeps/tiny.yaml                     forget every failure
  python -m scheduler retry sweeps/tiny.yaml SHAPES_SD15_DDIM_6  forget this one's
  python -m scheduler retry sweeps/tiny.yaml 'SHAPES_SD15_*'      forget theirs
  python -m scheduler retry sweeps/tiny.yaml --force             forget completions and results too""",
    ),
    "stop": Command(
        "end running tasks: they wait again, or fail",
        _add_stop,
        """\
  python -m scheduler stop sweeps/tiny.yaml SHAPES_SD15_DDIM_6           end its attempt, uncharged
  python -m scheduler stop sweeps/tiny.yaml SHAPES_SD15_DDIM_6 --fail    and do not try it again

A stopped task waits again, and is started as soon as a device is free; with --fail it has failed.""",
        "wishes",
    ),
    "pause": Command(
        "start nothing new until it is resumed",
        _add_pause,
        """\
  python -m scheduler pause sweeps/tiny.yaml          what runs may end
  python -m scheduler pause sweeps/tiny.yaml --now    what runs is stopped, and tried again later

A pause stays until `resume`, also over the dispatcher's end and its next start.""",
        "wishes",
    ),
    "resume": Command(
        "let a paused sweep go on",
        _add_sweep,
        "  python -m scheduler resume sweeps/tiny.yaml",
        "wishes",
    ),
    "drain": Command(
        "start nothing new on a device, for this sweep",
        _add_drain,
        """\
  python -m scheduler drain sweeps/sdxl.yaml 3           what runs on GPU 3 may end
  python -m scheduler drain sweeps/sdxl.yaml 3 --undo    use it again""",
        "wishes",
    ),
    "reload": Command(
        "have the running dispatcher take the changed file in",
        _add_sweep,
        """\
  python -m scheduler reload sweeps/tiny.yaml

New tasks are run; what has left the file and waits is not started any more, what runs goes on to its end
and is not tried again. Tasks with other settings begin anew, those that run are stopped for it. Retries and
limits are taken over; devices, worker.env, validate, notify and order cannot change while it runs.""",
    ),
    "devices": Command(
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
  python -m scheduler status --help              what a command takes"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    open_streams()
    try:
        command, arguments = _understand(list(sys.argv[1:] if argv is None else argv))
    except SystemExit:
        with reader_may_leave():
            sys.stdout.flush()  # what --help printed
        raise
    return _run(command, arguments)


def _understand(words: list[str]) -> tuple[str, argparse.Namespace]:
    """Return the command and what it was given.

    Raises:
        SystemExit: as argparse does, after --help or a mistake.
    """
    if not words or words[0] in ("-h", "--help"):
        parser = _overview()
        if words:
            parser.print_help()
            parser.exit()
        parser.error("a sweep file or a command is missing (--help shows them)")
    if words[0] not in COMMANDS:
        _refuse_unknown_command(words[0])
        words.insert(0, "run")
    command = words.pop(0)
    parser = _parser(command)
    arguments, unknown = parser.parse_known_intermixed_args(_with_names_marked(words, parser))
    if unknown:
        parser.error(_about(unknown, parser))
    return command, arguments


def _with_names_marked(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Mark the words that begin with a dash and are no options: ``-1_20``, and all after ``--``."""
    end = list(words).index("--") if "--" in words else len(words)
    options = [
        _MARK + word if re.match("-[^-]", word) and word[:2] not in parser._option_string_actions
        and _takes_tasks(parser) else word
        for word in words[:end]
    ]  # fmt: skip
    return options + [_MARK + word for word in words[end + 1 :]]


def _takes_tasks(parser: argparse.ArgumentParser) -> bool:
    return any(action.metavar == "TASK" for action in parser._actions)


def _unmarked(word: str) -> str:
    return word.removeprefix(_MARK)


def _path(word: str) -> Path:
    return Path(_unmarked(word))


def _parser(command: str) -> argparse.ArgumentParser:
    summary = COMMANDS[command].summary
    parser = argparse.ArgumentParser(
        prog="python -m scheduler" if command == "run" else f"python -m scheduler {command}",
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n{COMMANDS[command].example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    COMMANDS[command].add_arguments(parser)
    return parser


def _overview() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scheduler",
        usage="python -m scheduler [COMMAND] SWEEP.yaml [options]",
        description="Run sweeps of jobs on idle GPUs, with file checkpoints.",
        epilog=OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_argument_group("commands")
    for name, command in COMMANDS.items():
        commands.add_argument(name, nargs="?", help=command.summary)
    _add_run(parser.add_argument_group("what run takes"))
    return parser


def _refuse_unknown_command(word: str) -> None:
    """End with 2 if the first word can only be meant as a command: it looks like no file, and is none."""
    if word.startswith("-") or "." in word or "/" in word or os.path.lexists(word):
        return
    _overview().error(f"there is no command {word!r}{nearest(word, list(COMMANDS))}")


def _about(unknown: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """Return what is said of words that a command does not take."""
    option = next((word for word in unknown if word.startswith("-")), None)
    if option is None:
        return f"too many arguments: {' '.join(map(_unmarked, unknown))}"
    name = option.partition("=")[0]
    hint = nearest(name, list(parser._option_string_actions))
    way_out = " (a task of that name goes after --)" if _takes_tasks(parser) else ""
    return f"there is no option {name!r}{hint}{way_out}"


def _run(command: str, arguments: argparse.Namespace) -> int:
    gc.disable()
    try:
        module = importlib.import_module(f"scheduler.cli.{COMMANDS[command].module or command}")
        gc.freeze()  # modules stay: the collector need not go through them, now or ever again
    finally:
        gc.enable()
    arguments.command = command
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
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        print(
            "no thread can be started: too many processes of this user run, or memory is short "
            "(ulimit -u, ulimit -v); the same command goes on from here",
            file=sys.stderr,
        )
        code = 2
    except OSError as error:
        discard_output()
        # An error that names no file is standard output's.
        where = error.filename or _removed_folder() or "standard output"
        print(f"{where}: {error.strerror}", file=sys.stderr)
        code = 2
    return code


def _removed_folder() -> str | None:
    """Return how the current folder is called if it was removed: then no relative path means anything."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the current folder (it was removed; cd to one that exists)"
    return None
