"""What each command takes; what one word of it must look like."""

from __future__ import annotations

import argparse
from pathlib import Path

# Before a word that argparse would take for an option, and that is none.
MARK = "\0"
Arguments = argparse._ActionsContainer  # a parser, or a group of its arguments


def add_sweep(arguments: Arguments) -> None:
    arguments.add_argument("sweep", metavar="SWEEP.yaml", type=_path, help="the sweep file")
    _add_root(arguments)


def _add_root(arguments: Arguments) -> None:
    arguments.add_argument(
        "--root",
        metavar="DIR",
        type=_path,
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


def add_run(arguments: Arguments) -> None:
    add_sweep(arguments)
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
    arguments.add_argument(
        "--executor",
        choices=("local", "slurm", "ray"),
        help="where attempts run (default: as the sweep's executor section says, else here)",
    )
    arguments.add_argument(
        "--inside-slurm",
        action="store_true",
        help="run as one job of Slurm's, on the GPUs that it has, and leave before its time limit",
    )
    arguments.add_argument("--plain", action="store_true", help="print lines even on a terminal")
    arguments.add_argument(
        "--metrics-file",
        type=_path,
        metavar="FILE.prom",
        help="keep a file for Prometheus (node_exporter's textfile collector) up to date",
    )


def add_status(arguments: Arguments) -> None:
    add_sweep(arguments)
    _add_only(arguments)
    form = arguments.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, for scripts")
    form.add_argument(
        "--watch", action="store_true", help="keep the picture on the terminal; Ctrl-C ends it"
    )


def _add_measured(arguments: Arguments) -> None:
    """Say which measurements are asked for."""
    arguments.add_argument(
        "sweeps", metavar="SWEEP.yaml", type=_path, nargs="+", help="the sweep files"
    )
    _add_root(arguments)
    _add_only(arguments)
    arguments.add_argument(
        "--metric", type=unmarked, metavar="NAME", help="whose loss (default: clip_score)"
    )


def add_results(arguments: Arguments) -> None:
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
    form.add_argument(
        "--snippet", action="store_true", help="a Python program that makes images as the best does"
    )


def add_report(arguments: Arguments) -> None:
    _add_measured(arguments)
    arguments.add_argument(
        "--output",
        type=_path,
        metavar="FILE.html",
        help="where to write it (default: SWEEP-report.html here); tables are written beside it",
    )
    arguments.add_argument("--open", action="store_true", help="show it in the browser")


def _share(text: str) -> float:
    text = unmarked(text).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write 1% or 0.01")
    return share


def add_tail(arguments: Arguments) -> None:
    add_sweep(arguments)
    arguments.add_argument(
        "tasks",
        metavar="TASK",
        nargs="*",
        type=unmarked,
        help="whose logs, each as --only has it; lines of several begin with the task",
    )
    what = arguments.add_mutually_exclusive_group()
    what.add_argument(
        "-f", "--follow", action="store_true", help="go on as the logs grow; Ctrl-C ends it"
    )
    what.add_argument(
        "--failed",
        action="store_true",
        help="of the tasks that have failed (default: all of them) the cause and the log's end",
    )
    arguments.add_argument(
        "-n",
        "--lines",
        type=_count,
        metavar="N",
        help="begin with the last N lines (default: all; 10 of several that are followed, 20 with --failed)",
    )


def _count(text: str) -> int:
    text = unmarked(text)
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def add_retry(arguments: Arguments) -> None:
    add_sweep(arguments)
    arguments.add_argument(
        "tasks",
        metavar="TASK",
        nargs="*",
        type=unmarked,
        help="these tasks only, each as --only has it (default: all)",
    )
    arguments.add_argument(
        "--force",
        action="store_true",
        help="forget completions too: set aside .done and measurements",
    )


def add_devices(arguments: Arguments) -> None:
    arguments.add_argument(
        "sweep",
        metavar="SWEEP.yaml",
        type=_path,
        nargs="?",
        help="judge by this sweep's devices section",
    )


def add_stop(arguments: Arguments) -> None:
    add_sweep(arguments)
    arguments.add_argument("tasks", metavar="TASK", nargs="+", type=unmarked, help="the tasks' ids")
    arguments.add_argument(
        "--fail",
        action="store_true",
        help="they have failed then, running or not (`retry` forgets it)",
    )


def add_pause(arguments: Arguments) -> None:
    add_sweep(arguments)
    arguments.add_argument(
        "--now", action="store_true", help="stop what runs, too; it is tried again later, uncharged"
    )


def add_drain(arguments: Arguments) -> None:
    add_sweep(arguments)
    arguments.add_argument(
        "devices",
        metavar="DEVICE",
        nargs="+",
        type=unmarked,
        help="as `status` shows it: 0, cpu:1",
    )
    arguments.add_argument("--undo", action="store_true", help="use it again")


def unmarked(word: str) -> str:
    """Return a word without the mark that kept argparse from taking it for an option."""
    return word.removeprefix(MARK)


def _path(word: str) -> Path:
    return Path(unmarked(word))
