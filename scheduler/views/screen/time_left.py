"""About how long a sweep still takes, and by what that is known."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, RUNNING, WAITING
from scheduler.core.tables.order import LongestFirst, learned

_LEAST_SHARE = 0.02  # of a task, before its pace says anything
_MOST_LOOKED_AT = 1000  # of the tasks that wait; of more, some stand for all
_LEAST_LEFT = 0.05  # of what a task was expected to take, as long as it has not ended


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Seconds until all tasks have ended, and how that is known."""

    seconds: float
    basis: str


class Estimator:
    """Expects of a task what completed ones like it took: a factor for each value of each axis.

    So a sweep over pipes and steps learns what each pipe costs, and each number of steps. As long as no task
    is completed, those that run and tell how far they are stand for all.

    A pipe, or a number of steps, that no completed task had yet tells nothing so: by bare seconds its tasks
    would take what the others took, and where the longest go first that is far too much. Where the worker
    has said how much work each task is, seconds for a unit of work are learned, and those differ less.
    """

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        """Take for each task its values, one for each axis."""
        self._numbers = {name: number for number, name in enumerate(values)}
        self._values = list(values.values())
        self._by: LongestFirst | None = None
        self._known = 0

    def left(
        self, progress: SweepProgress, shares: Mapping[str, float], now: float
    ) -> TimeLeft | None:
        """Return the time left; None: nothing is known yet to tell it by.

        Args:
            progress: how the sweep stands.
            shares: of running tasks, as far as they tell, the share that is done.
            now: time of day in seconds.
        """
        took = {
            self._numbers[name]: seconds
            for name, view in progress.tasks.items()
            if name in self._numbers and view.state == DONE and (seconds := view.seconds)
        }
        projected = _projected(progress, shares, now)
        typical, basis = _typical(progress, took, projected)
        if typical is None:
            return None
        self._learn(progress, took, projected)
        waiting = [
            name
            for name, view in progress.tasks.items()
            if view.state == WAITING and not view.left_out
        ]
        sample = waiting[:: 1 + len(waiting) // _MOST_LOOKED_AT]
        ahead = sum(self._expected(name, typical) for name in sample) * len(waiting)
        ahead /= max(1, len(sample))
        running = [
            _left_of_one(
                projected.get(name),
                self._expected(name, typical),
                # At first its pace is that of loading: what is expected by its work is nearer.
                shares.get(name, 0.0) if took and progress.work else 1.0,
                view.ran_for(now) or 0.0,
            )
            for name, view in progress.tasks.items()
            if view.state == RUNNING
        ]
        at_once = max(1.0, _at_once(progress), len(running))
        basis += ", and the work of each" if progress.work else ""
        return TimeLeft(max([(ahead + sum(running)) / at_once, *running]), basis)

    def _learn(
        self, progress: SweepProgress, took: Mapping[int, float], projected: Mapping[str, float]
    ) -> None:
        """Learn from completed tasks, anew whenever there are some more; before, from those that run."""
        seen = took
        if not took and not progress.durations:
            numbers = self._numbers
            seen = {
                numbers[name]: all_of_it for name, all_of_it in projected.items() if name in numbers
            }
        elif self._by is not None and self._known <= len(took) <= self._known * 1.05:
            return
        work = {
            self._numbers[name]: amount
            for name, amount in progress.work.items()
            if name in self._numbers
        }
        self._by, self._known = learned(self._values, seen, work), len(took)

    def _expected(self, task: str, typical: float) -> float:
        number = self._numbers.get(task)
        expected = None if self._by is None or number is None else self._by.expected(number)
        return typical if expected is None else expected


def _projected(
    progress: SweepProgress, shares: Mapping[str, float], now: float
) -> dict[str, float]:
    """Return how long running tasks will have taken in all, by their own pace."""
    return {
        name: (now - view.started) / share
        for name, share in shares.items()
        if share >= _LEAST_SHARE
        and (view := progress.tasks.get(name)) is not None
        and view.state == RUNNING
        and view.started is not None
        and view.started < now
    }


def _at_once(progress: SweepProgress) -> float:
    """Return how many tasks can run side by side, by what runs and what is idle."""
    slots = sum(max(len(device.tasks), device.idle) for device in progress.devices.values())
    if progress.limit.devices is not None:
        slots = min(slots, progress.limit.devices)
    # A task that has several devices stands on each of them.
    at_work = [task for device in progress.devices.values() for task in device.tasks]
    return slots * len(set(at_work)) / len(at_work) if at_work else slots


def _typical(
    progress: SweepProgress, took: Mapping[int, float], projected: Mapping[str, float]
) -> tuple[float | None, str]:
    if took:
        return statistics.fmean(took.values()), f"by {_tasks(len(took))} completed"
    if progress.durations:
        return statistics.fmean(progress.durations), "by tasks completed before"
    if projected:
        return statistics.fmean(projected.values()), f"by the pace of {len(projected)} running"
    return None, ""


def _left_of_one(projected: float | None, expected: float, trust: float, age: float) -> float:
    """Return the seconds that are left of a task, by its pace as far as that is to be trusted (0 to 1)."""
    if projected is not None:
        return max(0.0, trust * projected + (1.0 - trust) * expected - age)
    return max(expected * _LEAST_LEFT, expected - age)


def _tasks(count: int) -> str:
    return f"{count} task{'s' if count != 1 else ''}"
