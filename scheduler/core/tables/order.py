"""In which order tasks that were never tried are started, where it is not that of the axes. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field


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
    """Expects of a task what tasks like it took, and puts the longest first.

    Tasks are alike in the values of axes that they share. For each value the (geometric) mean of the times of
    the tasks that have it is compared to that of all; what a task is expected to take is the mean of all,
    times that factor for each of its values. A value that no completed task had counts for nothing, so a task
    with none that is known stands in the middle, and tasks expected to take the same follow the axes.
    """

    # By task: its value for each axis.
    values: list[Sequence[Hashable]]
    _all: _Mean = field(default_factory=_Mean)
    _by_value: dict[tuple[int, Hashable], _Mean] = field(default_factory=lambda: defaultdict(_Mean))
    # Of attempts that have ended and were not judged.
    _took: dict[int, float] = field(default_factory=dict)
    _next_look: int = 1

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
        self._all.add(math.log(took))
        for pair in enumerate(self.values[task]):
            self._by_value[pair].add(math.log(took))
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
        return math.exp(self._all.total / self._all.count + factors)

    def sequence(self) -> list[int]:
        """Return the tasks' numbers, those first that are expected to take longest."""
        factors = {pair: mean.over(self._all) for pair, mean in self._by_value.items()}
        return sorted(
            range(len(self.values)),
            key=lambda task: -sum(factors.get(pair, 0.0) for pair in enumerate(self.values[task])),
        )


def learned(values: Sequence[Sequence[Hashable]], seconds: Mapping[int, float]) -> LongestFirst:
    """Return the order by what completed tasks took, in seconds by their number."""
    order = LongestFirst(list(values))
    for task, took in seconds.items():
        order.completed(task, took)
    return order
