"""``python -m worker search``: measure one task."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from worker.accelerators.compiled_code import keep_compiled
from worker.commands.options import number
from worker.config.bounded import parse_json, read_regular
from worker.config.numbers import TASK_NUMBERS
from worker.config.yaml_file import read_mapping
from worker.errors import ConfigurationError, WorkerError
from worker.models.catalogue import PIPES, SCHEDS, find_pipe, find_sched
from worker.search.section import Search, read_search

if TYPE_CHECKING:
    from worker.measure.settings import TaskRequest

_EXAMPLE = """example:
  python -m worker search --pipe TINY_SD15 --sched DDIM --steps 10 --num-samples 8 --batch-size 4

A scheduler names the results file, the task and its search section by the environment variables
SWEEP_RESULTS, SWEEP_TASK and SWEEP_SPEC; the flags --results and --search do the same by hand.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = _EXAMPLE
    parser.add_argument("--pipe", required=True, help=f"one of {', '.join(PIPES)}")
    parser.add_argument("--sched", required=True, help=f"one of {', '.join(SCHEDS)}")
    add = parser.add_argument
    add("--steps", required=True, type=number(TASK_NUMBERS["steps"]), help="inference steps")
    for name, meaning in (
        ("num_samples", "images"),
        ("batch_size", "at once"),
        ("seed", "of the first image"),
        ("confirm", "measure the frontier again on so many other prompts"),
    ):
        flag, kind = f"--{name.replace('_', '-')}", TASK_NUMBERS[name]
        text = f"{meaning} (default {kind.default})"
        add(flag, type=number(kind), default=kind.default, metavar="N", help=text)
    parser.add_argument(
        "--results",
        type=Path,
        help="append the measurements to this file (default $SWEEP_RESULTS or results.jsonl)",
    )
    parser.add_argument(
        "--search", type=Path, help="a YAML file with the search section (default: by the pipe)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure the task and return the exit code."""
    try:
        return _run(arguments)
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr, flush=True)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    request = request_of(arguments)
    task = request.task

    from worker.results.file import ResultsFile

    path = arguments.results or Path(os.environ.get("SWEEP_RESULTS") or "results.jsonl")
    results = ResultsFile.open(path)
    for notice in results.notices:
        _say(notice)

    if request.search.settings.compile:
        why = keep_compiled(path.parent / ".compiled")
        if why is not None:
            _say(why)

    from worker.measure.staged.stages import run_timed_stage
    from worker.measure.task.run import run as run_task
    from worker.metrics.device import choose_device

    device = choose_device()
    name = os.environ.get("SWEEP_TASK") or f"{task.pipe.name} {task.sched.name} {task.steps}"
    _say(f"task {name} on {device}, results in {path}")
    if request.stage == "timed" and run_timed_stage(request, results, device, _say):
        _say("Timed stage completed")
        return 0
    summary = run_task(request, results, device, _say)
    _say(f"summary: {json.dumps(summary.as_json(), ensure_ascii=False)}")
    _say("Successfully completed")
    return 0


def request_of(arguments: argparse.Namespace) -> TaskRequest:
    """Return what the arguments and the search section ask for.

    Raises:
        WorkerError: there is no such task, or no such section.
    """
    from worker.measure.settings import TaskRequest
    from worker.models.task import Task

    task = Task(find_pipe(arguments.pipe), find_sched(arguments.sched), arguments.steps)
    task.sched.check_steps(task.steps)
    return TaskRequest(
        task=task,
        search=read_section(arguments.search),
        num_samples=arguments.num_samples,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        confirm=arguments.confirm,
        stage=_stage(),
        command=_command(arguments),
    )


def _say(line: str) -> None:
    # a file's name need not be text; with its end in one piece, since two threads may have a word
    sys.stdout.write(f"{line.encode(errors='backslashreplace').decode()}\n")
    sys.stdout.flush()


def _stage() -> Literal["timed", "untimed"] | None:
    """Return which part of the task the scheduler wants measured; None: all of it."""
    spec = os.environ.get("SWEEP_SPEC")
    content = _read_spec(spec) if spec else {}
    stage = content.get("stage")
    return stage if stage in ("timed", "untimed") else None


def _read_spec(spec: str) -> dict[str, Any]:
    """Read what the scheduler says of the task.

    Raises:
        ConfigurationError: it cannot be read, or holds no object.
    """
    try:
        content = parse_json(read_regular(spec))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"SWEEP_SPEC: {spec} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"SWEEP_SPEC: {spec} holds no object")
    return content


def read_section(file: Path | None) -> Search:
    """Read the section from the file given by hand, or from the scheduler's, or take defaults.

    Raises:
        ConfigurationError: the file cannot be read, or holds no search section.
    """
    section: Any = None
    origin = "the search section"
    spec = os.environ.get("SWEEP_SPEC")
    if file is not None:
        section, origin = _read_yaml(file), str(file)
    elif spec:
        section = _read_spec(spec).get("search")
        origin = spec
    search, problems = read_search(section)
    if search is None:
        lines = "".join(f"\n  {key}: {message}" for key, message in problems)
        raise ConfigurationError(f"{origin} is not a search section:{lines}")
    return search


def _read_yaml(file: Path) -> object:
    try:
        data = read_regular(file)
    except OSError as error:
        raise ConfigurationError(f"--search: {file} cannot be read: {error.strerror}") from error
    content = read_mapping(data, f"--search: {file}", "a search section, or a sweep that has one")
    # a whole sweep file will do as well
    if "search" in content or "matrix" in content:
        return content.get("search")
    return content


def _command(arguments: argparse.Namespace) -> str:
    """Return the command line that repeats the task."""
    words = ["python", "-m", "worker", "search"]
    for flag in (
        "pipe",
        "sched",
        "steps",
        "num_samples",
        "batch_size",
        "seed",
        "confirm",
        "search",
    ):
        value = getattr(arguments, flag)
        if value is not None:
            words += [f"--{flag.replace('_', '-')}", str(value)]
    return shlex.join(words)
