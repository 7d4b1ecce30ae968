"""The command line ``python -m scheduler [COMMAND] SWEEP.yaml …``; without a command, run.

What a command takes is said in command_line/ and what it does in its own file: --help loads nothing heavy.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import re
import sys
from collections.abc import Sequence

from scheduler.cli.command_line.arguments import MARK, add_run, unmarked
from scheduler.cli.command_line.commands import COMMANDS, OVERVIEW
from scheduler.config.suggest import nearest
from scheduler.views.streams import discard_output, open_streams, reader_may_leave

# Words that are values, not options, be they good ones or not: -5%, -1e3. By itself argparse knows -5 and
# -0.5 alone, and says of the others that the argument is missing.
_NEGATIVE = re.compile(r"-(\.?\d|inf|nan)", re.IGNORECASE)


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
        MARK + word if re.match("-[^-]", word) and word[:2] not in parser._option_string_actions
        and _takes_tasks(parser) else word
        for word in words[:end]
    ]  # fmt: skip
    return options + [MARK + word for word in words[end + 1 :]]


def _takes_tasks(parser: argparse.ArgumentParser) -> bool:
    return any(action.metavar == "TASK" for action in parser._actions)


def _parser(command: str) -> argparse.ArgumentParser:
    summary = COMMANDS[command].summary
    parser = argparse.ArgumentParser(
        prog="python -m scheduler" if command == "run" else f"python -m scheduler {command}",
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n{COMMANDS[command].example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    COMMANDS[command].add_arguments(parser)
    parser._negative_number_matcher = _NEGATIVE
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
    add_run(parser.add_argument_group("what run takes"))
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
        return f"too many arguments: {' '.join(map(unmarked, unknown))}"
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
