"""In which order tasks that were never tried are started, where it is not that of the axes. Pure."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

_HALVINGS = 12  # of the span in which the best capacity is looked for
_BETTER = 0.99  # of the time that the longest first would take: only then another order is worth it
_LEAST_LEFT = 0.05  # of what a task was expected to take, as long as it has not ended


@dataclass(slots=True)
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, number: float) -> None:
        self.total += number
        self.count += 1

    def over(self, other: _Mean) -> float:
        return self.total / self.count - other.total / other.count if self.count else 0.0


@dataclass
class LongestFirst:
    """Expects of a task what its work and tasks like it tell, and puts the longest first.

    A task takes its work times a rate, in seconds for a unit of work. Tasks are alike in the values of axes
    that they share: for each value the (geometric) mean rate of the tasks that have it is compared to that of
    all; the rate of a task is the mean of all, times that factor for each of its values. A value that no
    completed task had counts for nothing. Where nobody says how much work tasks are, all are taken to be as
    much; one that is not told of, to be the (geometric) mean of the others. Tasks expected to take the same
    follow the axes.
    """

    # By task: its value for each axis.
    values: list[Sequence[Hashable]]
    # By task: how much work is left of it, in any unit; more tasks than these may come.
    work: Mapping[int, float] = field(default_factory=dict)
    _all: _Mean = field(default_factory=_Mean)
    _by_value: dict[tuple[int, Hashable], _Mean] = field(default_factory=lambda: defaultdict(_Mean))
    # Of attempts that have ended and were not judged.
    _took: dict[int, float] = field(default_factory=dict)
    _next_look: int = 1

    def __post_init__(self) -> None:
        logs = [math.log(amount) for amount in self.work.values()]
        self._usual_work = sum(logs) / len(logs) if logs else 0.0

    def ended(self, task: int, seconds: float) -> None:
        """Remember how long an attempt took, until it is known whether it completed its task."""
        self._took[task] = seconds

    def completed(self, task: int, seconds: float | None = None) -> bool:
        """Learn from a task that is completed; say whether it is time to look at the order again.

        It is at every completion at first, then at each that adds a quarter to what is known, so that all
        looks together cost no more than a few.

        Args:
            task: its number.
            seconds: what it took; None: what `ended` told.
        """
        took = self._took.pop(task, None) if seconds is None else seconds
        if took is None or not 0 < took < math.inf:
            return False
        rate = math.log(took) - self._work(task)
        self._all.add(rate)
        for pair in enumerate(self.values[task]):
            self._by_value[pair].add(rate)
        if self._all.count < self._next_look:
            return False
        self._next_look = self._all.count + 1 + self._all.count // 4
        return True

    def expected(self, task: int) -> float | None:
        """Return the seconds that a task is expected to take; None where none was completed."""
        if not self._all.count:
            return None
        known = (self._by_value.get(pair) for pair in enumerate(self.values[task]))
        factors = sum(mean.over(self._all) for mean in known if mean is not None)
        return math.exp(self._all.total / self._all.count + self._work(task) + factors)

    def left(self, task: int, ran: float) -> float:
        """Return what is expected to be left of a task that has run for so long, as `sequence` counts."""
        whole = self.expected(task)
        return (
            math.exp(self._work(task)) if whole is None else max(whole - ran, _LEAST_LEFT * whole)
        )

    def sequence(
        self, tasks: Sequence[int] | None = None, free_in: Sequence[float] = ()
    ) -> list[int]:
        """Return tasks in the order in which they are to be started.

        The longest first; but where few are left for each device, in the order in which they are all done
        soonest, if that is another.

        Args:
            tasks: their numbers; None: all.
            free_in: how long each device is still in use, as `left` counts; none: the longest first.
        """
        factors = {pair: mean.over(self._all) for pair, mean in self._by_value.items()}

        def expected(task: int) -> float:
            known = sum(factors.get(pair, 0.0) for pair in enumerate(self.values[task]))
            # Rounded, so that those that are alike follow the axes.
            return round(known + self._work(task), 6)

        numbers = range(len(self.values)) if tasks is None else tasks
        logs = sorted((-expected(task), task) for task in numbers)
        if not free_in or not logs:
            return [task for _, task in logs]
        mean = self._all.total / self._all.count if self._all.count else 0.0
        starts = planned_starts([math.exp(mean - log) for log, _ in logs], free_in)
        planned = sorted(zip(starts, logs, strict=True))
        return [task for _, (_, task) in planned]

    def _work(self, task: int) -> float:
        amount = self.work.get(task)
        return self._usual_work if amount is None else math.log(amount)


def planned_starts(seconds: Sequence[float], free_in: Sequence[float]) -> list[float]:
    """Return when each of some tasks is to start, for all of them to be done soon.

    The longest first, each on the device that is free first, may take a third longer than it must, above all
    where there are two or three tasks for each device. So MULTIFIT (Coffman, Garey and Johnson, 1978; at most
    2/11 longer, by Yue, 1990) looks by halving for the least time in which all fit, the longest first, each
    on the first device that has room for it. The better of the two is taken.

    Args:
        seconds: that each takes, the longest first.
        free_in: how long each device is still in use, at least one.
    """
    starts, longest_first = _each_where_free_first(seconds, free_in)
    most = _BETTER * longest_first
    least = max((sum(seconds) + sum(free_in)) / len(free_in), seconds[0] + min(free_in))
    for _ in range(_HALVINGS if least < most else 0):
        capacity = (least + most) / 2
        fitting = _each_where_it_fits(seconds, free_in, capacity)
        if fitting is None:
            least = capacity
        else:
            starts, most = fitting, capacity
    return starts


def _each_where_free_first(
    seconds: Sequence[float], free_in: Sequence[float]
) -> tuple[list[float], float]:
    """Return when each task starts, and when all are done."""
    devices = list(free_in)
    heapq.heapify(devices)
    starts = []
    for took in seconds:
        starts.append(devices[0])
        heapq.heapreplace(devices, devices[0] + took)
    return starts, max(devices)


def _each_where_it_fits(
    seconds: Sequence[float], free_in: Sequence[float], capacity: float
) -> list[float] | None:
    """Return when each task starts, or None if they do not all fit."""
    devices = sorted(free_in, reverse=True)
    starts = []
    for took in seconds:
        for number, start in enumerate(devices):
            if start + took <= capacity:
                starts.append(start)
                devices[number] += took
                break
        else:
            return None
    return starts


def learned(
    values: Sequence[Sequence[Hashable]],
    seconds: Mapping[int, float],
    work: Mapping[int, float] | None = None,
) -> LongestFirst:
    """Return the order by what completed tasks took, in seconds, and by tasks' work, each by their number."""
    order = LongestFirst(list(values), work or {})
    for task, took in seconds.items():
        order.completed(task, took)
    return order
