"""What measuring a plan costs, in images and in calls of the denoiser. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from worker.config.numbers import TASK_NUMBERS
from worker.config.settings import Timing
from worker.errors import WorkerError
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.search.configuration import Configuration
from worker.search.plan import make_plan
from worker.search.section import read_search
from worker.search.studies import Study

T = TypeVar("T")


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


def costs_of_tasks(
    tasks: Mapping[str, Mapping[str, Any]], args: Mapping[str, Any], section: object
) -> dict[str, Cost]:
    """Return what measuring whole tasks costs at least, by their ids; of those of which it is known.

    Args:
        tasks: the matrix values of each task.
        args: ``worker.args``; the matrix goes before them.
        section: the search section, or None.
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
            configurations = make_plan(task, search).configurations
        except (WorkerError, KeyError, TypeError, ValueError):
            continue
        found[name] = sum(costs(configurations, task, study, search.timing), Cost(0, 0))
    return found
