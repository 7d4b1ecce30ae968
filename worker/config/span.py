"""A range of numbers under ``search.configurations``, from which configurations are proposed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """Every number between two ends, both included: whole ones where both ends are."""

    low: int | float
    high: int | float

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers alone."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def count(self) -> float:
        """How many numbers it holds; infinity where they are not whole."""
        return self.high - self.low + 1 if self.is_whole else float("inf")

    def as_written(self) -> dict[str, int | float]:
        """Return it as it stands in a search section."""
        return {"from": self.low, "to": self.high}


def span_or(read_end: Callable[[object], Any]) -> Callable[[Any, Callable[[Any], Any]], Any]:
    """Return what reads a range where there is one, and leaves other values to whom they are for.

    Args:
        read_end: validates one of the ends.
    """

    def read(value: Any, others: Callable[[Any], Any]) -> Any:
        if not isinstance(value, dict):
            return others(value)
        if set(value) != {"from", "to"}:
            raise ValueError(f"expected a value, a list, or {{from: …, to: …}}, found {value!r}")
        low, high = (_end(read_end, value[key]) for key in ("from", "to"))
        if isinstance(low, int) != isinstance(high, int):
            raise ValueError(f"expected two whole numbers, or two others, found {value!r}")
        if low >= high:
            raise ValueError(f"to is to be more than from, found {value!r}")
        return Span(low, high)

    return read


def _end(read_end: Callable[[object], Any], value: object) -> int | float:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, found {value!r}")  # noqa: TRY004  # pydantic's
    found: int | float = read_end(value)
    return found


def as_written(value: Any) -> Any:
    """Return a parameter's value, or values, or range, as it stands in a search section."""
    return value.as_written() if isinstance(value, Span) else value
