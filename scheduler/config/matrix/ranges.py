"""The numbers that a range of the sweep file stands for; decimals come out as they are written."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction

# As the sweep file has it; a text is a number in scientific notation, 1e-4.
Number = int | float | str
_PRECISE = Context(prec=50)
# Digits that a float surely keeps, so that a power of ten comes out as one.
_SHOWN = Context(prec=15)


def stepped(first: Number, last: Number, step: Number, most: int) -> list[int] | list[float]:
    """Return ``first``, ``first + step``, … up to ``last``, which is among them if the steps meet it.

    Whole numbers where both ``first`` and ``step`` are, else floats: 0.1, 0.2, 0.3.

    Raises:
        ValueError: no step leads there, or they are more than ``most``.
    """
    begin, end, by = _exactly(first), _exactly(last), _exactly(step)
    if by == 0:
        raise ValueError("by is 0, which leads nowhere; give the distance between two values")
    if (end - begin) / by < 0:
        raise ValueError(f"by is {step}, which leads away from {last}; {_turned(step)} leads there")
    count = (end - begin) // by + 1
    if count > most:
        raise ValueError(f"makes more than {most:,} values; a sweep has no more tasks")
    exact = [begin + number * by for number in range(count)]
    if isinstance(first, int) and isinstance(step, int):
        return [int(value) for value in exact]
    return _told_apart([float(value) for value in exact])


def logarithmic(first: Number, last: Number, n: int, most: int) -> list[int] | list[float]:
    """Return ``n`` numbers from ``first`` to ``last``, each the same multiple of the one before.

    Whole numbers where the ends are and all of them come out whole: 1, 10, 100. Else floats of at most 15
    digits.

    Raises:
        ValueError: an end is not positive, both are one number, or ``n`` is too large.
    """
    begin, end = _decimal(first), _decimal(last)
    if begin <= 0 or end <= 0:
        raise ValueError("log: both ends must be greater than 0")
    if begin == end:
        raise ValueError(f"log: both ends are {first}; give two numbers")
    if n > most:
        raise ValueError(f"n: makes more than {most:,} values; a sweep has no more tasks")
    ratio = _PRECISE.divide(end, begin)
    between = [
        _SHOWN.plus(_PRECISE.multiply(begin, _PRECISE.power(ratio, _PRECISE.divide(number, n - 1))))
        for number in map(Decimal, range(1, n - 1))
    ]
    values = [begin, *between, end]
    if isinstance(first, int) and isinstance(last, int) and all(v == int(v) for v in values):
        return [int(value) for value in values]
    return _told_apart([float(value) for value in values])


def _told_apart(values: Sequence[float]) -> list[float]:
    if len(set(values)) < len(values):
        raise ValueError("its values lie too close together for floats; take fewer")
    return list(values)


def _decimal(number: Number) -> Decimal:
    return Decimal(str(number))


def _exactly(number: Number) -> Fraction:
    return Fraction(_decimal(number))


def _turned(step: Number) -> str:
    text = str(step)
    return text[1:] if text.startswith("-") else f"-{text.removeprefix('+')}"
