"""``python -m worker plan``: print a task's configurations, and what is left out and why."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from worker.commands.options import number
from worker.commands.search import read_section
from worker.config.numbers import TASK_NUMBERS
from worker.errors import WorkerError
from worker.models.catalogue import PIPES, SCHEDS, find_pipe, find_sched

_EXAMPLE = """example:
  python -m worker plan --pipe SDXL --sched DDIM --steps 50 --search sweeps/sdxl.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = _EXAMPLE
    parser.add_argument("--pipe", required=True, help=f"one of {', '.join(PIPES)}")
    parser.add_argument("--sched", required=True, help=f"one of {', '.join(SCHEDS)}")
    parser.add_argument(
        "--steps", required=True, type=number(TASK_NUMBERS["steps"]), help="inference steps"
    )
    parser.add_argument(
        "--search", type=Path, help="a YAML file with the search section (default: by the pipe)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the plan and return the exit code."""
    from worker.models.task import Task
    from worker.search.incompatible import check_task
    from worker.search.plan import make_plan

    try:
        task = Task(find_pipe(arguments.pipe), find_sched(arguments.sched), arguments.steps)
        task.sched.check_steps(task.steps)
        search = read_section(arguments.search)
        check_task(task, search)
        plan = make_plan(task, search)
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{len(plan.configurations)} configurations are measured:")
    for item in plan.configurations:
        print(f"  {item.role:<10} {item.label}")
    if plan.left_out:
        print(f"{len(plan.left_out)} are left out:")
    for left_out in plan.left_out:
        print(f"  {left_out.label}: {left_out.reason}")
    return 0
