"""Ranges: the numbers that one would have written, both ends, and what no range is."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler.config.matrix.ranges import Number, logarithmic, stepped

MOST = 1000


@pytest.mark.parametrize(
    ("first", "last", "step", "values"),
    [
        (0, 1, 0.25, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (0.1, 0.5, 0.1, [0.1, 0.2, 0.3, 0.4, 0.5]),
        (10, 50, 20, [10, 30, 50]),
        (10, 45, 20, [10, 30]),
        (3, 1, -1, [3, 2, 1]),
        (0.3, 0, -0.1, [0.3, 0.2, 0.1, 0.0]),
        ("1e-5", "3e-5", "1e-5", [1e-05, 2e-05, 3e-05]),
        (1, 4.5, 2, [1, 3]),
        (7, 7, 1, [7]),
        (1, 2, 5, [1]),
    ],
)
def test_steps(first: Number, last: Number, step: Number, values: list[float]) -> None:
    found = stepped(first, last, step, MOST)
    assert list(map(repr, found)) == list(map(repr, values))


_TENTHS = st.integers(-500, 500)


@given(_TENTHS, st.integers(0, 99), st.integers(-99, 99), st.integers(0, 3))
def test_decimals_are_those_that_one_would_write(
    first: int, steps: int, step: int, places: int
) -> None:
    assume(step)

    def number(units: int) -> float:
        return float(Decimal(units).scaleb(-places))

    found = stepped(number(first), number(first + steps * step), number(step), MOST)
    assert found == [number(first + n * step) for n in range(steps + 1)]
    assert all(len(repr(abs(value)).partition(".")[2]) <= max(1, places) for value in found)


@pytest.mark.parametrize(
    ("first", "last", "n", "values"),
    [
        ("1e-5", "1e-2", 4, [1e-05, 0.0001, 0.001, 0.01]),
        (1, 1000, 4, [1, 10, 100, 1000]),
        (64, 1, 7, [64, 32, 16, 8, 4, 2, 1]),
        (1, 100, 2, [1, 100]),
        (1, 10, 3, [1.0, 3.16227766016838, 10.0]),
        (0.1, 10, 3, [0.1, 1.0, 10.0]),
    ],
)
def test_logarithmic_steps(first: Number, last: Number, n: int, values: list[float]) -> None:
    found = logarithmic(first, last, n, MOST)
    assert list(map(repr, found)) == list(map(repr, values))


_POSITIVE = st.floats(1e-12, 1e12)


@given(_POSITIVE, _POSITIVE, st.integers(2, 40))
def test_each_is_the_same_multiple_of_the_one_before(first: float, last: float, n: int) -> None:
    assume(max(first, last) / min(first, last) > 1.001)
    found = logarithmic(first, last, n, MOST)
    assert (len(found), found[0], found[-1]) == (n, first, last)
    ratio = (last / first) ** (1 / (n - 1))
    assert all(math.isclose(b / a, ratio, rel_tol=1e-9) for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((0, 1, 0), "by is 0, which leads nowhere"),
        ((0, 1, "0e0"), "by is 0, which leads nowhere"),
        ((0, 1, -0.1), "by is -0.1, which leads away from 1; 0.1 leads there"),
        ((1, 0, "1e-2"), "by is 1e-2, which leads away from 0; -1e-2 leads there"),
        ((0, 10**300, 1), "makes more than 1,000 values"),
        ((0, 1, 1e-300), "makes more than 1,000 values"),
        ((1e16, 1e16 + 4, 0.5), "its values lie too close together for floats"),
    ],
)
def test_what_is_no_range(numbers: tuple[Number, Number, Number], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        stepped(*numbers, MOST)


@pytest.mark.parametrize(
    ("first", "last", "n", "said"),
    [
        (0, 1, 3, "log: both ends must be greater than 0"),
        (1, -1, 3, "log: both ends must be greater than 0"),
        (2, 2.0, 3, "log: both ends are 2; give two numbers"),
        (1, 2, 1001, "n: makes more than 1,000 values"),
        (1.0, 1.0000000000000002, 9, "its values lie too close together for floats"),
    ],
)
def test_what_is_no_logarithmic_range(first: Number, last: Number, n: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        logarithmic(first, last, n, MOST)
