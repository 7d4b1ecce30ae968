"""In which order tasks that were never tried are started, where it is not that of the axes. Pure."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

_HALVINGS = 12  # of the span in which the best capacity is looked for
_BETTER = 0.99  # of the time that the longest first would take: only then another order is worth it
_LEAST_GAIN = 1e-6  # of the time, for which tasks are exchanged
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
    on the first device that has room for it. In both plans tasks are then exchanged as long as that makes the
    last device end sooner, and the better one is taken.

    Args:
        seconds: that each takes, the longest first.
        free_in: how long each device is still in use, at least one.
    """
    simple = _each_where_free_first(seconds, free_in)
    end = max(_ends(seconds, free_in, simple))
    plans = [_exchanged(seconds, free_in, simple)]
    least, most = max((sum(seconds) + sum(free_in)) / len(free_in), seconds[0] + min(free_in)), end
    fitting = None
    for _ in range(_HALVINGS if least < _BETTER * end else 0):
        capacity = (least + most) / 2
        if (found := _each_where_it_fits(seconds, free_in, capacity)) is None:
            least = capacity
        else:
            fitting, most = found, capacity
    if fitting is not None:
        plans.append(_exchanged(seconds, free_in, fitting))
    best = min(plans, key=lambda plan: max(_ends(seconds, free_in, plan)))
    chosen = best if max(_ends(seconds, free_in, best)) < _BETTER * end else simple
    free, starts = list(free_in), []
    for took, device in zip(seconds, chosen, strict=True):
        starts.append(free[device])
        free[device] += took
    return starts


def _ends(
    seconds: Sequence[float], free_in: Sequence[float], devices: Sequence[int]
) -> list[float]:
    """Return when each device is done with its tasks."""
    ends = list(free_in)
    for took, device in zip(seconds, devices, strict=True):
        ends[device] += took
    return ends


def _each_where_free_first(seconds: Sequence[float], free_in: Sequence[float]) -> list[int]:
    """Return the device of each task."""
    free = [(at, device) for device, at in enumerate(free_in)]
    heapq.heapify(free)
    devices = []
    for took in seconds:
        at, device = free[0]
        devices.append(device)
        heapq.heapreplace(free, (at + took, device))
    return devices


def _each_where_it_fits(
    seconds: Sequence[float], free_in: Sequence[float], capacity: float
) -> list[int] | None:
    """Return the device of each task, or None if they do not all fit."""
    free = list(free_in)
    in_turn = sorted(range(len(free)), key=lambda device: -free[device])
    devices = []
    for took in seconds:
        found = next((device for device in in_turn if free[device] + took <= capacity), None)
        if found is None:
            return None
        free[found] += took
        devices.append(found)
    return devices


def _exchanged(
    seconds: Sequence[float], free_in: Sequence[float], devices: Sequence[int]
) -> list[int]:
    """Return the plan with tasks of the device that ends last moved, or exchanged for shorter ones."""
    devices, ends = list(devices), _ends(seconds, free_in, devices)
    for _ in seconds:
        last = max(range(len(ends)), key=ends.__getitem__)
        best, pair = ends[last] * (1.0 - _LEAST_GAIN), None
        # With whom each is exchanged: another task, or none, on its device.
        others = [(other, seconds[other], d) for other, d in enumerate(devices) if d != last]
        others += [(-1, 0.0, device) for device in range(len(ends)) if device != last]
        for task in [task for task, device in enumerate(devices) if device == last]:
            for other, took, device in others:
                gain = seconds[task] - took
                end = max(ends[last] - gain, ends[device] + gain)
                if end < best:
                    best, pair = end, (task, other, device, gain)
        if pair is None:
            break
        task, other, device, gain = pair
        devices[task] = device
        if other >= 0:
            devices[other] = last
        ends[last] -= gain
        ends[device] += gain
    return devices


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
