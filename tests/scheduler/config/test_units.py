"""Durations and sizes, as people write them and as they read them."""

from __future__ import annotations

import pytest

from scheduler.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("30s", 30.0), ("12h", 43200.0), ("1h30m", 5400.0), ("1h 30m", 5400.0), ("0s", 0.0)),
        *(("500ms", 0.5), ("1.5d", 129600.0), ("10 min", 600.0), (" 2 m ", 120.0)),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", 30, 1.5, None, True, "s", "-3s", "3 weeks", "3s x", []])
def test_no_durations(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number and its unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("24GiB", 24 * 2**30), ("24 gib", 24 * 2**30), ("500MB", 500_000_000), ("0B", 0)),
        *(("1.5KiB", 1536), ("2TiB", 2 * 2**40), ("7kB", 7000), (" 1 B ", 1)),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "24", 24, None, True, "GiB", "-1GiB", "24G", "1 GiB x", {}])
def test_no_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size: write a number and its unit"):
        parse_size(text)


def test_what_people_read() -> None:
    assert [format_duration(s) for s in (4.23, 185, 7800)] == ["4.2 s", "3 min 05 s", "2 h 10 min"]
    assert [format_duration(s) for s in (59.99, 3599.9)] == ["1 min 00 s", "59 min 59 s"]
    assert [format_size(n) for n in (512 * 2**20, 23.5 * 2**30)] == ["512 MiB", "23.5 GiB"]
