"""The tasks that wait: for a device, for a device of a certain kind, or for their time. Pure."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from scheduler.core.retry import Retry, RetryCode
from scheduler.core.states import Need
from scheduler.core.tables.order import LongestFirst

MOST_PICKY = 256  # conditions that are looked at to learn what devices are wanted


class Line:
    """The tasks of one need that wait, and for which any devices will do."""

    def __init__(self, need: Need) -> None:
        self.need = need
        # Heap: tried before.
        self.tried: list[int] = []
        # All others, in the order in which they are to be started, and some that do not wait any more; those
        # that do stand behind `first`.
        self.others: list[int] = []
        self.first = 0


@dataclass(slots=True)
class Picky:
    """The tasks that are to be tried again on the same conditions: a device that suits one suits all."""

    need: Need
    # Of any of them; conditions apart, they differ.
    retry: Retry
    # Heap; never empty.
    tasks: list[int]


class Waiting:
    """Every waiting task stands in exactly one of three places: a line, `constrained` or `delayed`."""

    def __init__(self, order: LongestFirst | None = None) -> None:
        # By task: what it needs, and whether it was never tried and waits.
        self.needs: list[Need] = []
        self.untried: list[bool] = []
        self._lines: dict[Need, Line] = {}
        self.order = order
        # None: the order of the sweep. Else where each task stands; 0: it did not wait when that was made.
        self._places: list[int] | None = None
        # By their conditions: tried before, not any device will do.
        self.constrained: dict[Hashable, Picky] = {}
        # Heap: must not start before that time.
        self.delayed: list[tuple[float, int, Retry]] = []

    def enter(self, task: int, need: Need, *, untried: bool) -> None:
        """Take note of the next task by number; queue it if it was never tried and waits."""
        self.needs.append(need)
        self.untried.append(untried)
        line = self._lines.get(need)
        if line is None:
            line = self._lines[need] = Line(need)
        place = self._place(task)
        if line.others and place < self._place(line.others[-1]):
            insort(line.others, task, key=self._place)
            line.first = 0
        else:
            line.others.append(task)

    def change_need(self, task: int, need: Need) -> None:
        """Have a task that does not wait now need something else when it does."""
        before = self._lines[self.needs[task]]
        before.others = [other for other in before.others if other != task]
        before.first = 0
        self.needs[task] = need
        self._lines.setdefault(need, Line(need))

    def first_line(
        self, may_wait: Callable[[Line], bool], without: Collection[Line] = ()
    ) -> Line | None:
        """Return the line, of all others, whose first task is to be started next.

        What was tried before goes first.

        Args:
            may_wait: tells of which lines such tasks go last instead.
            without: lines that are passed over.
        """
        first, rank = None, (3, 0)
        for line in self._lines.values():
            if line in without:
                continue
            if line.tried:
                its_rank = 2 if may_wait(line) else 0, line.tried[0]
            elif (untried := self._first_untried(line)) is not None:
                its_rank = 1, self._place(untried)
            else:
                continue
            if its_rank < rank:
                first, rank = line, its_rank
        return first

    def demands(self, most: int) -> Iterator[tuple[Need, Retry | None, int]]:
        """Yield what waiting tasks need and on what conditions, and how many there are of each.

        Args:
            most: tasks that are counted of one kind; more need not be known.
        """
        for line in self._lines.values():
            places = range(line.first, len(line.others))
            untried = (place for place in places if self.untried[line.others[place]])
            if tasks := len(line.tried) + sum(1 for _ in islice(untried, most)):
                yield line.need, None, tasks
        for picky in islice(self.constrained.values(), MOST_PICKY):
            yield picky.need, picky.retry, len(picky.tasks)

    def first_of(self, line: Line) -> int:
        """Return a line's first task; there must be one."""
        if line.tried:
            return line.tried[0]
        untried = self._first_untried(line)
        assert untried is not None
        return untried

    def take(self, line: Line) -> int:
        """Remove and return a line's first task; there must be one."""
        first = self.first_of(line)
        if line.tried:
            return heapq.heappop(line.tried)
        self.untried[first] = False
        return first

    def _first_untried(self, line: Line) -> int | None:
        while line.first < len(line.others):
            task = line.others[line.first]
            if self.untried[task]:
                return task
            line.first += 1
        return None

    def _place(self, task: int) -> int:
        places = self._places
        return task if places is None or task >= len(places) else places[task]

    def ended(self, task: int, seconds: float) -> None:
        """Take note of how long an attempt took."""
        if self.order is not None:
            self.order.ended(task, seconds)

    def completed(self, task: int) -> bool:
        """Learn from what a completed task took; say whether the order of the others may be another now."""
        return self.order is not None and self.order.completed(task)

    @property
    def needs_alike(self) -> bool:
        """Whether all tasks need the same."""
        return len(self._lines) == 1

    def never_tried(self) -> list[int]:
        """Return the tasks that wait in a line and were never tried."""
        lines = self._lines.values()
        return [t for line in lines for t in line.others[line.first :] if self.untried[t]]

    def tried(self) -> Iterator[int]:
        """Yield the tasks that wait and were tried before."""
        for line in self._lines.values():
            yield from sorted(line.tried)
        for picky in self.constrained.values():
            yield from picky.tasks
        for _, task, _ in self.delayed:
            yield task

    def follow(self, sequence: Sequence[int]) -> None:
        """Start those that were never tried in this order from now on; it has all of their numbers."""
        self._places = [0] * len(self.needs)
        for place, task in enumerate(sequence, 1):
            self._places[task] = place
        for line in self._lines.values():
            line.others = [task for task in line.others[line.first :] if self.untried[task]]
            line.others.sort(key=self._place)
            line.first = 0

    def learn_of(self, values: Sequence[Sequence[Hashable]]) -> None:
        """Take the values of tasks that are about to be added, for the order by what tasks took."""
        if self.order is not None:
            self.order.values.extend(values)

    def delay(self, task: int, retry: Retry) -> None:
        """Keep the task until its time."""
        heapq.heappush(self.delayed, (retry.at, task, retry))

    def add(self, task: int, retry: Retry) -> bool:
        """Queue a task that was tried before; say whether any device will do."""
        if retry.above_memory is None and retry.avoid is None and retry.share is None:
            heapq.heappush(self._lines[self.needs[task]].tried, task)
            return True
        need, device_error = self.needs[task], retry.reason.code is RetryCode.DEVICE_ERROR
        conditions = need, retry.above_memory, retry.avoid, retry.share, device_error
        picky = self.constrained.get(conditions)
        if picky is None:
            self.constrained[conditions] = Picky(need, retry, [task])
        else:
            heapq.heappush(picky.tasks, task)
        return False

    def take_picky(self, conditions: Hashable) -> int:
        """Remove and return the first task that waits on such conditions; there must be one."""
        tasks = self.constrained[conditions].tasks
        task = heapq.heappop(tasks)
        if not tasks:
            del self.constrained[conditions]
        return task

    def put_back(self, task: int) -> None:
        """Queue a task that was never tried where it was taken from."""
        self.untried[task] = True
        line = self._lines[self.needs[task]]
        place = self._place(task)
        index = bisect_left(line.others, place, key=self._place)
        while index < len(line.others) and self._place(line.others[index]) == place:
            if line.others[index] == task:
                break
            index += 1
        else:
            line.others.insert(index, task)
        line.first = min(line.first, index)

    def remove(self, tasks: Collection[int]) -> None:
        """Remove tasks, wherever they stand."""
        for task in tasks:
            self.untried[task] = False
        for line in self._lines.values():
            line.tried = _without(tasks, line.tried)
        for conditions, picky in list(self.constrained.items()):
            picky.tasks = _without(tasks, picky.tasks)
            if not picky.tasks:
                del self.constrained[conditions]
        self.delayed = [one for one in self.delayed if one[1] not in tasks]
        heapq.heapify(self.delayed)


def _without(tasks: Collection[int], heap: list[int]) -> list[int]:
    kept = [task for task in heap if task not in tasks]
    heapq.heapify(kept)
    return kept
