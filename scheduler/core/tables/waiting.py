"""The tasks that wait: for a device, for a device of a certain kind, or for their time. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Hashable, Sequence

from scheduler.core.retry import Retry
from scheduler.core.tables.order import LongestFirst


class Waiting:
    """Every waiting task stands in exactly one of four places."""

    def __init__(self, order: LongestFirst | None = None) -> None:
        # By task: never tried. What is True is True from `_first_untried` of the order on.
        self.untried: list[bool] = []
        self._first_untried = 0
        # None: the order of the sweep. Else it, and where each task stands in it.
        self._order = order
        self._sequence: Sequence[int] | None = None
        self._place: list[int] = []
        if order is not None:
            self._look_at_order(order)
        # Heap: tried before, any device will do.
        self.ready: list[int] = []
        # Tried before, not any device will do.
        self.constrained: dict[int, Retry] = {}
        # Heap: must not start before that time.
        self.delayed: list[tuple[float, int, Retry]] = []

    def next_untried(self) -> int | None:
        """Return the first task that was never tried, or None."""
        sequence = self._sequence
        while self._first_untried < len(self.untried if sequence is None else sequence):
            first = self._first_untried
            task = first if sequence is None else sequence[first]
            if self.untried[task]:
                return task
            self._first_untried += 1
        return None

    def ended(self, task: int, seconds: float) -> None:
        """Take note of how long an attempt took."""
        if self._order is not None:
            self._order.ended(task, seconds)

    def completed(self, task: int) -> None:
        """Let the order of the others follow from what a completed task took."""
        if self._order is not None and self._order.completed(task):
            self._look_at_order(self._order)

    def _look_at_order(self, order: LongestFirst) -> None:
        self._follow(order.sequence())

    def _follow(self, sequence: Sequence[int]) -> None:
        self._sequence, self._first_untried = sequence, 0
        self._place = [0] * (1 + max(sequence, default=0))
        for place, task in enumerate(sequence):
            self._place[task] = place

    def learn_of(self, values: Sequence[Sequence[Hashable]]) -> None:
        """Take the values of tasks that are about to be added, for the order by what tasks took."""
        if self._order is not None:
            self._order.values.extend(values)

    def reorder(self, sequence: Sequence[int]) -> None:
        """Take the tasks' numbers in another order, which gives way where the longest go first."""
        if self._order is None:
            self._follow(sequence)
        else:
            self._look_at_order(self._order)

    def delay(self, task: int, retry: Retry) -> None:
        """Keep the task until its time."""
        heapq.heappush(self.delayed, (retry.at, task, retry))

    def add(self, task: int, retry: Retry) -> bool:
        """Queue a task that was tried before; say whether any device will do."""
        if retry.above_memory is None and retry.avoid is None:
            heapq.heappush(self.ready, task)
            return True
        self.constrained[task] = retry
        return False

    def put_back(self, task: int) -> None:
        """Queue a task that was never tried where it was taken from."""
        self.untried[task] = True
        place = task if self._sequence is None else self._place[task]
        self._first_untried = min(self._first_untried, place)

    def remove(self, tasks: Collection[int]) -> None:
        """Remove tasks, wherever they stand."""
        for task in tasks:
            self.untried[task] = False
            self.constrained.pop(task, None)
        self.ready = [other for other in self.ready if other not in tasks]
        self.delayed = [one for one in self.delayed if one[1] not in tasks]
        heapq.heapify(self.ready)
        heapq.heapify(self.delayed)

    def take_next(self) -> int:
        """Remove and return the next task for which any device will do; there must be one.

        What was tried before goes first.
        """
        if self.ready:
            return heapq.heappop(self.ready)
        untried = self.next_untried()
        assert untried is not None
        self.untried[untried] = False
        return untried
