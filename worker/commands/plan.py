"""``python -m worker plan``: print a task's configurations, and what is left out and why."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worker.commands.options import number
from worker.commands.search import read_section
from worker.config.numbers import TASK_NUMBERS
from worker.config.yaml_file import read_mapping
from worker.errors import ConfigurationError, WorkerError
from worker.models.catalogue import PIPES, SCHEDS, find_pipe, find_sched
from worker.search.cost import Cost, blocks, costs, most_of_confirmation, most_of_search

if TYPE_CHECKING:
    from worker.models.task import Task
    from worker.search.configuration import Configuration
    from worker.search.plan import Plan
    from worker.search.section import Search
    from worker.search.studies import Study

_COUNTS = ("num_samples", "batch_size", "confirm")

_EXAMPLE = """example:
  python -m worker plan --pipe SDXL --sched DDIM --steps 50 --search sweeps/sdxl.yaml
  python -m worker plan --pipe SDXL --sched DDIM --steps 50 --measured checkpoints/sdxl/*.jsonl

The counts are of images and of calls of the denoiser, each for a whole batch, untimed ones included.
Where --search names a whole sweep, its worker.args are the defaults of the flags below it.
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
    parser.add_argument(
        "--measured",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="results files of like tasks, to tell the time by: checkpoints/sdxl/*.jsonl",
    )
    for name in _COUNTS:
        kind = TASK_NUMBERS[name]
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(
            flag, type=number(kind), metavar="N", help=f"as of search (default {kind.default})"
        )


def run(arguments: argparse.Namespace) -> int:
    """Print the plan and return the exit code."""
    from worker.models.task import Task
    from worker.search.incompatible import check_task
    from worker.search.plan import make_plan
    from worker.search.studies import (
        Study,
        confirmation,
        prompts_to_confirm,
        stability,
        unfit_to_search,
    )

    try:
        task = Task(find_pipe(arguments.pipe), find_sched(arguments.sched), arguments.steps)
        task.sched.check_steps(task.steps)
        search = read_section(arguments.search)
        check_task(task, search)
        plan = make_plan(task, search)
        num_samples, batch_size, confirm = _counts(arguments)
        refused = unfit_to_search(search, num_samples, confirm)
        if refused is not None:
            raise ConfigurationError(": ".join(refused))
        own = Study("", num_samples, batch_size)
        is_grid = search.strategy == "grid"
        found = (costs if is_grid else most_of_search)(plan.expected, task, own, search.timing)
        about = "about" if is_grid else "at most about"
        time = _time_in_words(about, plan.expected, found, task, own, arguments.measured)
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    again = list(confirmation(own, prompts_to_confirm(search, num_samples, confirm)))
    count = len(plan.expected)
    if is_grid:
        again += stability(own, search.stability)
        print(f"{count} configurations are measured:")
    else:
        print(f"{count} configurations are searched adaptively, each for at most:")
    for line in (*_in_words(plan.configurations, found), *_proposals_in_words(plan, found)):
        print(line)
    total = f"{_cost_in_words(sum(found, Cost(0, 0)))}, in batches of {batch_size}"
    for line in (
        _grid_in_words(total, count, search) if is_grid else _search_in_words(total, search)
    ):
        print(line)
    for study in again:
        all_of_it = (
            sum(costs(plan.configurations, task, study, search.timing), Cost(0, 0))
            if is_grid
            else most_of_confirmation(plan.expected, task, study, search, confirm)
        )
        bound = "at most" if search.timing.precision is None else "of all of it at least"
        print(f"{study.name}: what proves worth it again, {bound} {_cost_in_words(all_of_it)}")
    if plan.left_out:
        print(f"{len(plan.left_out)} are left out:")
    for left_out in plan.left_out:
        print(f"  {left_out.label}: {left_out.reason}")
    print(time)
    return 0


def _in_words(configurations: Sequence[Configuration], found: Sequence[Cost]) -> Iterator[str]:
    """Yield a line for each configuration with what it costs."""
    width = max(len(item.label) for item in configurations)
    for item, cost in zip(configurations, found, strict=False):
        yield f"  {item.role:<10} {item.label:<{width}}  {_cost_in_words(cost)}"


def _proposals_in_words(plan: Plan, found: Sequence[Cost]) -> Iterator[str]:
    """Yield what each of those that are proposed costs, and of how many, if there are any."""
    if plan.proposals:
        size = sum(entry.size for entry in plan.entries)
        of = "a continuous space" if math.isinf(size) else f"{size:,.0f}"
        yield f"  {plan.proposals} candidates that are proposed of {of}, each {_cost_in_words(found[-1])}"


def _grid_in_words(total: str, count: int, search: Search) -> Iterator[str]:
    """Yield what all configurations cost, and what may come on top."""
    timing = search.timing
    yield f"altogether {'' if timing.precision is None else 'at least '}{total}"
    if timing.precision is not None:
        blocks_of_it = sum(1 for _ in blocks(range(count - 1), timing))
        yield (
            f"then rounds go on until every speed-up is known to ±{100 * timing.precision:g}%, "
            f"for at most {timing.longest:g} s in each of {blocks_of_it} blocks"
        )


def _search_in_words(total: str, search: Search) -> Iterator[str]:
    """Yield what an adaptive search costs at most, and what ends it before."""
    yield f"altogether at most {total}: if none is dropped, and no batch taken again"
    if search.budget is not None:
        yield f"no look begins once {search.budget:g} s have been measured"


def _time_in_words(
    about: str,
    configurations: Sequence[Configuration],
    found: Sequence[Cost],
    task: Task,
    study: Study,
    measured: Sequence[Path],
) -> str:
    """Return how long the plan takes on one device, and by what that is reckoned."""
    from worker.results.answers.rates import seconds_per_call

    rates, used = seconds_per_call(measured, task.pipe.name, study.batch_size)
    alike = f"{task.pipe.name} in batches of {study.batch_size}"
    if "baseline" not in rates:
        where = "in the files named" if measured else "named (--measured FILE…)"
        return f"GPU-hours: not known: no measurement of {alike} {where}"
    seconds = sum(
        cost.denoiser_calls * rates.get(item.label, rates["baseline"])
        for item, cost in zip(configurations, found, strict=True)
    )
    unknown = sum(item.label not in rates for item in configurations)
    others = f"; {unknown} configurations not measured yet count as the baseline" if unknown else ""
    return (
        f"{about} {seconds / 3600:.2g} GPU-hours ({seconds:,.0f} s of pipeline calls on one device), "
        f"from {used} measurements of {alike}{others}"
    )


def _cost_in_words(cost: Cost) -> str:
    return f"{cost.images:,} images, {cost.denoiser_calls:,} calls"


def _counts(arguments: argparse.Namespace) -> list[int]:
    """Return number of samples, batch size and prompts to confirm on, by flag, sweep or default.

    Raises:
        ConfigurationError: one in the sweep is no such number.
    """
    given = {} if arguments.search is None else _worker_args(arguments.search)
    counts = []
    for name in _COUNTS:
        flag, kind = getattr(arguments, name), TASK_NUMBERS[name]
        try:
            counts.append(flag if flag is not None else kind(given.get(name, kind.default)))
        except ValueError as error:
            raise ConfigurationError(f"{arguments.search}: worker.args.{name}: {error}") from error
    return counts


def _worker_args(file: Path) -> Mapping[str, object]:
    """Return the arguments that a whole sweep gives all its tasks; none, if it is a section alone."""
    worker = read_mapping(file.read_bytes(), str(file), "a search section").get("worker")
    args = worker.get("args") if isinstance(worker, dict) else None
    return args if isinstance(args, dict) else {}
