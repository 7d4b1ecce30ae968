"""What a search section's configurations span, where they are too many to try each. No torch here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from worker.accelerators.registry import specs
from worker.config.span import Span
from worker.search.section import ConfigurationGrid

# of a grid, beyond which configurations are proposed instead of raced all
MOST_RACED = 300
# how many are proposed where the section does not say
PROPOSED = 128

Point = dict[str, dict[str, Any]]
"""Accelerators with their parameters."""


@dataclass(frozen=True)
class Axis:
    """A parameter of an accelerator, and what it may be."""

    accelerator: str
    key: str
    values: Sequence[Any] | Span

    @property
    def count(self) -> float:
        """How many values there are; infinity where they are not whole numbers."""
        return self.values.count if isinstance(self.values, Span) else len(self.values)

    @property
    def corners(self) -> Sequence[Any]:
        """The first value and the last."""
        if isinstance(self.values, Span):
            return [self.values.low, self.values.high]
        return list(dict.fromkeys([self.values[0], self.values[-1]]))


@dataclass(frozen=True)
class Entry:
    """Accelerators that act together, and the axes of their parameters."""

    accelerators: tuple[str, ...]
    axes: tuple[Axis, ...]

    @classmethod
    def of(cls, grid: ConfigurationGrid) -> Entry:
        """Return what one entry of a section spans."""
        used = [(name, section) for name, section in grid if section is not None]
        axes = [
            Axis(name, key, values if isinstance(values, (list, Span)) else [values])
            for name, section in used
            for key, values in section
            if values is not None
        ]
        return cls(tuple(name for name, _ in used), tuple(axes))

    @property
    def size(self) -> float:
        """How many configurations it spans."""
        return math.prod(axis.count for axis in self.axes)

    @property
    def has_span(self) -> bool:
        """Whether one of its axes is a range."""
        return any(isinstance(axis.values, Span) for axis in self.axes)

    def at(self, values: Sequence[Any]) -> Point:
        """Return the accelerators for a value of each axis, without what goes without saying."""
        point: Point = {name: {} for name in self.accelerators}
        for axis, value in zip(self.axes, values, strict=True):
            point[axis.accelerator][axis.key] = value
        return {name: specs()[name].reduced(item) for name, item in point.items()}

    def points(self) -> Iterator[Point]:
        """Yield every combination of its values; of a range its ends."""
        axes = [
            axis.corners if isinstance(axis.values, Span) else axis.values for axis in self.axes
        ]
        yield from map(self.at, itertools.product(*axes))

    def corners(self) -> Iterator[Point]:
        """Yield every combination of the first and last values of its axes."""
        yield from map(self.at, itertools.product(*(axis.corners for axis in self.axes)))


def proposals_wanted(grids: Sequence[ConfigurationGrid], named: int | None) -> int:
    """Return how many configurations are proposed; 0 where all are raced.

    Args:
        grids: what an adaptive search chooses from.
        named: how many the section asks for; None where it does not say.
    """
    entries = [Entry.of(grid) for grid in grids]
    size = sum(entry.size for entry in entries)
    if named is None and size <= MOST_RACED and not any(entry.has_span for entry in entries):
        return 0
    return int(min(named or PROPOSED, size))
