"""The tasks that wait: for a device, for a device of a certain kind, or for their time. Pure."""

from __future__ import annotations

import heapq

from scheduler.core.retry import Retry


class Waiting:
    """Every waiting task stands in exactly one of four places."""

    def __init__(self) -> None:
        # By task: never tried. What is True is True from `_first_untried` on.
        self.untried: list[bool] = []
        self._first_untried = 0
        # Heap: tried before, any device will do.
        self.ready: list[int] = []
        # Tried before, not any device will do.
        self.constrained: dict[int, Retry] = {}
        # Heap: must not start before that time.
        self.delayed: list[tuple[float, int, Retry]] = []

    def next_untried(self) -> int | None:
        """Return the first task that was never tried, or None."""
        while self._first_untried < len(self.untried) and not self.untried[self._first_untried]:
            self._first_untried += 1
        return self._first_untried if self._first_untried < len(self.untried) else None

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
        self._first_untried = min(self._first_untried, task)

    def remove(self, task: int) -> None:
        """Remove a task, wherever it stands."""
        self.untried[task] = False
        self.constrained.pop(task, None)
        self.ready = [other for other in self.ready if other != task]
        self.delayed = [one for one in self.delayed if one[1] != task]
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
