"""What Slurm has of a sweep's arrays: which elements are still to take an attempt. Pure.

An element is nobody's own until it takes an attempt's order, so for each order that waits there has to be an
element that comes. What squeue lists is the truth; between two of its answers, what was submitted, taken and
ended since is reckoned in.

An element is known by its array's token and its number there, which no other ever has; so what squeue says of
a job is never taken for what another job of its number does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from scheduler.executors.slurm.commands import Limits, Listed
from scheduler.executors.slurm.fate import JobState, understood


class Element(NamedTuple):
    """One element of an array."""

    array: str
    number: int


class Batch(NamedTuple):
    """An array that is to be submitted."""

    elements: int
    # How many of them may run at once; None: it is one job and no array, as Slurm has none.
    at_once: int | None


@dataclass(slots=True)
class _Array:
    """An array, as far as it is not over."""

    # Its number, for Slurm's commands.
    base: int
    # How many of its elements may run at once, where that is known.
    throttle: int | None = None
    # Those that are still to take an order.
    coming: set[int] = field(default_factory=set)
    # Of those, the ones that were in the queue when it was last asked.
    queued: set[int] = field(default_factory=set)
    # Those that have one.
    busy: set[int] = field(default_factory=set)
    # It is one job, and no array.
    single: bool = False

    @property
    def may_run(self) -> int:
        """How many of its elements may run at the same time, from now on."""
        left = len(self.coming) + len(self.busy)
        return left if self.throttle is None else min(left, self.throttle)

    def name(self, which: str) -> str:
        """Return what Slurm's commands call elements of it."""
        return str(self.base) if self.single else f"{self.base}_{which}"


class Arrays:
    """The arrays of one sweep."""

    def __init__(self, most: int | None) -> None:
        """Begin without any.

        Args:
            most: how many attempts may run at once; None: as many as Slurm has room for.
        """
        self._most = most
        self._arrays: dict[str, _Array] = {}
        self._lines: dict[Element, Listed] = {}
        # Of each array, what Slurm says of the elements that it does not list one by one.
        self._rest: dict[str, Listed] = {}
        # Elements whose attempt is over, or that are cancelled, while Slurm may still list them.
        self._spent: set[Element] = set()

    @property
    def coming(self) -> int:
        """How many elements are still to take an order."""
        return sum(len(array.coming) for array in self._arrays.values())

    def line(self, element: Element) -> Listed | None:
        """Return what Slurm last said of an element; None: it lists none such."""
        return self._lines.get(element) or self._rest.get(element.array)

    def without_order(self) -> list[Element]:
        """Return the elements that Slurm says run, and that have taken no order.

        Of what is no array that is not known: steps of a job count as running while they wait.
        """
        return [
            Element(token, number)
            for token, array in self._arrays.items()
            for number in array.coming - array.queued
            if not array.single
        ]

    def name(self, element: Element) -> str | None:
        """Return what Slurm's commands call an element; None: that is not known."""
        array = self._arrays.get(element.array)
        return None if array is None else array.name(str(element.number))

    def waits(self) -> Listed | None:
        """Return a line of squeue's that says why the elements in the queue wait, if one does."""
        lines = (*self._rest.values(), *self._lines.values())
        queued = (line for line in lines if understood(line.state) is JobState.QUEUED)
        return next((line for line in queued if line.reason != "None"), None)

    # --- what happens --------------------------------------------------------------------------

    def submitted(self, token: str, base: int, batch: Batch) -> None:
        """Take note of an array that Slurm has taken."""
        every = set(range(batch.elements))
        single = batch.at_once is None
        self._arrays[token] = _Array(base, batch.at_once, every, set(every), single=single)

    def took(self, element: Element) -> None:
        """Take note that an element has taken an attempt's order."""
        if (array := self._arrays.get(element.array)) is not None:
            array.coming.discard(element.number)
            array.queued.discard(element.number)
            array.busy.add(element.number)

    def ended(self, element: Element) -> None:
        """Take note that the attempt of an element is over."""
        self._spent.add(element)
        if (array := self._arrays.get(element.array)) is not None:
            array.busy.discard(element.number)

    def listed(self, lines: Collection[Listed], busy: Collection[Element]) -> list[Listed]:
        """Take squeue's answer.

        Args:
            lines: all of it.
            busy: elements that have an attempt.

        Returns:
            a line for each element that has ended without having taken an order. Those of arrays that Slurm
            has forgotten are none of them.
        """
        before, self._arrays = self._arrays, {}
        self._lines, self._rest = {}, {}
        for line in lines:
            self._arrays.setdefault(line.array, _Array(line.base))
            if line.indices is None:
                self._rest[line.array] = line
            for index in line.indices or ():
                self._lines[Element(line.array, index)] = line
        self._spent = {element for element in self._spent if element.array in self._arrays}
        for element, line in (*self._lines.items(), *self._unlisted(before)):
            self._note(element, line, busy)
        return list(self._never_took(before, busy))

    def _unlisted(self, before: dict[str, _Array]) -> Iterator[tuple[Element, Listed]]:
        """Yield the elements that have no line of their own; a job that is no array is one."""
        for token, line in self._rest.items():
            known = before[token].coming if token in before else {0}
            for element in (Element(token, index) for index in known):
                if element not in self._lines:
                    yield element, line

    def _note(self, element: Element, line: Listed, busy: Collection[Element]) -> None:
        state, array = understood(line.state), self._arrays[element.array]
        queued = state is JobState.QUEUED
        if queued:
            array.throttle = line.throttle
        if line.indices is None and state in (JobState.QUEUED, JobState.LIVES):
            array.single = True
        if element in busy:
            array.busy.add(element.number)
        elif element not in self._spent and state in (JobState.QUEUED, JobState.LIVES):
            array.coming.add(element.number)
            if queued:
                array.queued.add(element.number)

    def _never_took(self, before: dict[str, _Array], busy: Collection[Element]) -> Iterator[Listed]:
        for token, array in before.items():
            still = self._arrays[token].coming if token in self._arrays else array.coming
            for element in (Element(token, index) for index in array.coming - still):
                line = self.line(element)
                if line is not None and element not in busy:
                    yield line

    def refused(self, element: Element) -> list[int]:
        """Take note of an element that takes no order; return the numbers of arrays that still wait."""
        self.took(element)
        self.ended(element)
        return [array.base for array in self._arrays.values() if array.queued]

    # --- what follows --------------------------------------------------------------------------

    def lacking(self, orders: int, limits: Limits, largest: int) -> Batch | None:
        """Return the array that is to be submitted, if elements are lacking.

        Args:
            orders: how many wait to be taken.
            limits: Slurm's.
            largest: of more elements Slurm would not take it now.
        """
        # Half of what it can keep in all: others use it, too.
        room = limits.jobs // 2 - sum(len(a.coming) + len(a.busy) for a in self._arrays.values())
        elements = min(orders - self.coming, max(1, limits.array_size), largest, room)
        at_once = self._unused() if self._most is not None else orders
        if elements <= 0 or at_once <= 0:
            return None
        return Batch(elements, at_once if limits.array_size else None)

    def surplus(self, orders: int) -> list[str]:
        """Return what Slurm's commands call the queued elements that are not needed, the last ones.

        They are to be cancelled, and no order that comes meanwhile is left to them.
        """
        over, names = self.coming - orders, []
        for token, array in reversed(self._arrays.items()):
            if (last := sorted(array.queued)[-over:]) and over > 0:
                over -= len(last)
                names.append(array.name(f"[{_spans(last)}]"))
                array.coming.difference_update(last)
                array.queued.difference_update(last)
                self._spent.update(Element(token, number) for number in last)
        return names

    def throttles(self) -> list[tuple[int, int]]:
        """Return for arrays that may have more at once than now: their number, and how many."""
        changed, unused = [], self._unused() if self._most is not None else 0
        for array in self._arrays.values():
            more = len(array.coming) + len(array.busy) - (array.throttle or self._most or 0)
            if array.throttle is not None and unused > 0 and more > 0 and array.queued:
                array.throttle += unused
                unused = 0
                changed.append((array.base, array.throttle))
        return changed

    def _unused(self) -> int:
        """Return how many more attempts may run at once than those of the arrays that there are."""
        assert self._most is not None
        return self._most - sum(array.may_run for array in self._arrays.values())


def _spans(numbers: Sequence[int]) -> str:
    """Return sorted numbers as Slurm writes them: ``3,5-9``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
