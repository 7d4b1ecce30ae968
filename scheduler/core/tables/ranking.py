"""Devices in the order in which they are to be given, without those that cannot be. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Ranked(Protocol):
    """A device, as far as its place among others matters."""

    @property
    def ordinal(self) -> int: ...


D = TypeVar("D", bound=Ranked)


class Ranking(Generic[D]):
    """Those that were added, by their rank, first ones first; each step costs O(log devices).

    The rank of a device changes, and it comes to be taken: its entry is then passed by once it is first. So
    whoever changes a device adds it again.
    """

    def __init__(
        self, rank: Callable[[D], float], may_be_given: Callable[[D, float], bool]
    ) -> None:
        """Begin without devices.

        Args:
            rank: of a device as it is now; the least comes first.
            may_be_given: whether it can be given at a time.
        """
        self._rank = rank
        self._may_be_given = may_be_given
        self._heap: list[tuple[float, int, D]] = []
        # Rank and ordinal of those.
        self._queued: set[tuple[float, int]] = set()

    def add(self, device: D) -> None:
        """Queue a device by its rank."""
        rank, ordinal = self._rank(device), device.ordinal
        if (rank, ordinal) not in self._queued:
            self._queued.add((rank, ordinal))
            heapq.heappush(self._heap, (rank, ordinal, device))

    def first(self, now: float) -> D | None:
        """Return the first one; it stays."""
        while self._heap:
            rank, ordinal, device = self._heap[0]
            if self._may_be_given(device, now) and self._rank(device) == rank:
                return device
            heapq.heappop(self._heap)
            self._queued.remove((rank, ordinal))
        return None

    def all(self, now: float) -> list[D]:
        """Return all of them, in their order."""
        ordered = sorted(self._heap)
        return [d for rank, _, d in ordered if self._may_be_given(d, now) and self._rank(d) == rank]

    def in_turn(self, now: float) -> Iterator[D]:
        """Yield all of them, in their order, for who needs few; all stay."""
        passed: list[tuple[float, int, D]] = []
        try:
            while (device := self.first(now)) is not None:
                yield device
                passed.append(heapq.heappop(self._heap))
        finally:
            for entry in passed:
                heapq.heappush(self._heap, entry)
