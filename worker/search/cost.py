"""What measuring a plan costs, in images and in calls of the denoiser. No torch here."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from worker.config.numbers import TASK_NUMBERS
from worker.config.settings import NoTiming, Timing
from worker.errors import WorkerError
from worker.models.catalogue import Sched, find_pipe, find_sched
from worker.models.task import Task
from worker.search.configuration import Configuration
from worker.search.looks import MOST_CONFIRMED, first_look, looks, quick
from worker.search.plan import make_plan
from worker.search.section import Search, read_search
from worker.search.studies import Study

T = TypeVar("T")

# enough for text, UNet, noise scheduler and decoder to act together, and for little time
_STEPS_TO_COMPARE = 2
_ACCELERATED = (
    0.6  # of a call's time, about the mean of what is recorded in benchmarks/acceleration-results
)
_START = 16.0  # seconds from a worker's start to its first image
_COMPARED = 2  # times for each block, before and behind it


@dataclass(frozen=True)
class Cost:
    """What measuring one configuration costs at least, its untimed calls included."""

    images: int
    denoiser_calls: int
    """Each for a whole batch, whether an accelerator shortens it or not."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.images + other.images, self.denoiser_calls + other.denoiser_calls)


def least_rounds(study: Study, timing: Timing) -> int:
    """Return how many batches of each configuration are timed at least: all prompts, ``repeats``."""
    return max(-(-study.count // study.batch_size), timing.repeats)


def blocks(others: Sequence[T], timing: Timing) -> Iterator[Sequence[T]]:
    """Yield what is measured beside one baseline each; one empty block where there is nothing."""
    for first in range(0, max(1, len(others)), timing.block):
        yield others[first : first + timing.block]


def steps_to_compare(steps: int, sched: Sched) -> int:
    """Return in how many steps it is looked at whether the pipeline is still as it was."""
    return min(steps, max(_STEPS_TO_COMPARE, sched.min_steps))


def cost_of(configuration: Configuration, task: Task, study: Study, timing: Timing) -> Cost:
    """Return what one configuration costs at least; of the baseline, once for each block."""
    batches = timing.warmup + least_rounds(study, timing)
    steps = configuration.steps or task.steps
    return Cost(batches * study.batch_size, batches * task.sched.calls(steps))


def costs(
    configurations: Sequence[Configuration], task: Task, study: Study, timing: Timing
) -> list[Cost]:
    """Return what each configuration of a plan costs; the baseline, which comes first, in all."""
    baseline, *others = configurations
    once = cost_of(baseline, task, study, timing)
    times = sum(1 for _ in blocks(others, timing))
    again = Cost(times * once.images, times * once.denoiser_calls)
    return [again, *(cost_of(item, task, study, timing) for item in others)]


def costs_of_first_look(
    configurations: Sequence[Configuration], task: Task, own: Study, timing: Timing
) -> list[Cost]:
    """Return what an adaptive search spends on each configuration in any case, in which it times all."""
    first = replace(own, count=first_look(own.count, own.batch_size))
    return costs(configurations, task, first, quick(timing))


def most_of_search(
    configurations: Sequence[Configuration], task: Task, own: Study, timing: Timing
) -> list[Cost]:
    """Return what an adaptive search spends on each configuration at most, the confirmation apart.

    So much where it drops none, and looks at one at a time, with a baseline beside it. What is made
    to see that the pipeline stays as it was counts as the baseline's.

    Args:
        configurations: the baseline, which comes first, and all others.
        task: the task.
        own: on all prompts that the search may use.
        timing: the section's.
    """
    calls = task.sched.calls(steps_to_compare(task.steps, task.sched))
    comparison = Cost(_COMPARED * own.batch_size, _COMPARED * calls)
    baseline, *others = costs_of_first_look(configurations, task, own, timing)
    for _ in blocks(others, quick(timing)):
        baseline += comparison
    ends = looks(own.count, first_look(own.count, own.batch_size))
    for start, end in itertools.pairwise(ends):
        part = replace(own, count=end - start)
        for number, item in enumerate(configurations[1:]):
            if item.role == "candidate":
                others[number] += cost_of(item, task, part, NoTiming())
                baseline += cost_of(configurations[0], task, part, NoTiming()) + comparison
    return [baseline, *others]


def most_of_confirmation(
    configurations: Sequence[Configuration], task: Task, again: Study, search: Search, confirm: int
) -> Cost:
    """Return what is spent at most to confirm what an adaptive search chose.

    Args:
        configurations: the baseline, which comes first, and all others of its plan; candidates cost the
            same.
        task: the task.
        again: on which prompts.
        search: the section.
        confirm: on how many prompts it is asked for, 0 for as many as the search chooses.
    """
    candidates = [item for item in configurations if item.role == "candidate"]
    judges = [item for item in configurations if item.steps or item.seeds]
    # with a frontier all of it at once; else one after the other, each beside a baseline
    is_all = search.wants == "frontier" and confirm
    first = candidates if is_all else candidates[:1]
    blocks_of_it = [[*judges, *first], *([item] for item in candidates[1:MOST_CONFIRMED])]
    found = (
        costs([configurations[0], *others], task, again, search.timing)
        for others in (blocks_of_it[:1] if is_all else blocks_of_it)
    )
    return sum(itertools.chain(*found), Cost(0, 0))


@dataclass(frozen=True)
class TaskCost:
    """What measuring a task costs at least."""

    cost: Cost
    work: float
    """About so many seconds on an H100; on another device its time goes with that."""


def costs_of_tasks(
    tasks: Mapping[str, Mapping[str, Any]],
    args: Mapping[str, Any],
    section: object,
    kept: Mapping[str, Collection[str]] | None = None,
) -> dict[str, TaskCost]:
    """Return what measuring tasks costs at least, by their ids; of those of which it is known.

    Args:
        tasks: the matrix values of each task.
        args: ``worker.args``; the matrix goes before them.
        section: the search section, or None.
        kept: of tasks, the keys of configurations that need not be measured; the baseline is all the same.
    """
    search, _ = read_search(section)
    found = {}
    for name, matrix in tasks.items() if search is not None else ():
        values = {**args, **matrix}
        try:
            task = Task(
                find_pipe(str(values["pipe"])),
                find_sched(str(values["sched"])),
                int(values["steps"]),
            )
            samples, size = (
                TASK_NUMBERS[key](values.get(key, TASK_NUMBERS[key].default))
                for key in ("num_samples", "batch_size")
            )
            study = Study("", samples, size)
            assert search is not None
            baseline, *others = make_plan(task, search).expected
        except (WorkerError, KeyError, TypeError, ValueError):
            continue
        least = costs if search.strategy == "grid" else costs_of_first_look
        has = (kept or {}).get(name, ())
        left = [baseline, *(item for item in others if item.key not in has)]
        each = least(left, task, study, search.timing)
        cost = sum(each, Cost(0, 0))
        calls = sum(
            one.denoiser_calls * (_ACCELERATED if item.role == "candidate" else 1.0)
            for item, one in zip(left, each, strict=True)
        )
        generating = calls * size * task.pipe.call_seconds
        work = _START + generating + cost.images * task.pipe.image_seconds
        found[name] = TaskCost(cost, work)
    return found
