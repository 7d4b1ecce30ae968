"""Hours of `devices.at_most`: what a file may say, and what holds when, on days that are no 24 hours, too."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from scheduler.config import hours
from scheduler.config.hours import Holding, Hours, Span, hour_text, read_hours, read_zone
from tests.scheduler.config.test_loader import problems, read

WHOLE_DAY = 24 * 60
BERLIN = "Europe/Berlin"
SWEEP = "matrix: {p: [a]}\nworker: {command: [sleep, '1']}\n"
DAY_AND_NIGHT = '{from: "08:00", to: "20:00", gpus: 2}, {gpus: 8}'


def at(text: str) -> float:
    """Return an instant that is written in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def span(text: str, gpus: int) -> Span:
    first, last = map(hours.read_time, text.split(" to "))
    return Span(first, last, gpus)


# --- what holds when ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "gpus", "until"),
    [
        ("2026-07-01T05:59:59", 8, "2026-07-01T06:00"),
        ("2026-07-01T06:00", 2, "2026-07-01T18:00"),
        ("2026-07-01T17:59:59.999", 2, "2026-07-01T18:00"),
        ("2026-07-01T18:00", 8, "2026-07-02T06:00"),
        # The nights in which the clock is set: one has an hour more, the other an hour less.
        ("2026-10-24T18:00", 8, "2026-10-25T07:00"),
        ("2027-03-27T19:00", 8, "2027-03-28T06:00"),
    ],
)
def test_the_number_of_the_hour_and_until_when(now: str, gpus: int, until: str) -> None:
    day = Hours((span("08:00 to 20:00", 2),), 8, BERLIN)
    assert day.at(at(now)) == Holding(gpus, at(until))


@pytest.mark.parametrize(
    ("hours_of_night", "now", "gpus", "until"),
    [
        # 02:00 to 03:00 comes twice, without a stop.
        ("02:00 to 03:00", "2026-10-25T00:00", 1, "2026-10-25T02:00"),
        # So does 02:30, but between the two it is 02:00 again.
        ("02:30 to 03:00", "2026-10-25T00:30", 1, "2026-10-25T01:00"),
        ("02:30 to 03:00", "2026-10-25T01:00", 8, "2026-10-25T01:30"),
        ("02:30 to 03:00", "2026-10-25T01:30", 1, "2026-10-25T02:00"),
        # An hour that there is not.
        ("02:15 to 02:45", "2027-03-28T00:00", 8, "2027-03-29T00:15"),
        # It ends, or begins, where the clock leaps over its end, or its begin.
        ("01:00 to 02:30", "2027-03-28T00:00", 1, "2027-03-28T01:00"),
        ("02:30 to 04:00", "2027-03-28T00:59", 8, "2027-03-28T01:00"),
        ("02:30 to 04:00", "2027-03-28T01:00", 1, "2027-03-28T02:00"),
    ],
)
def test_hours_of_the_nights_in_which_the_clock_is_set(
    hours_of_night: str, now: str, gpus: int, until: str
) -> None:
    night = Hours((span(hours_of_night, 1),), 8, BERLIN)
    assert night.at(at(now)) == Holding(gpus, at(until))


def test_a_zone_that_left_out_a_whole_day() -> None:
    samoa = Hours((span("12:00 to 12:01", 1),), 8, "Pacific/Apia")
    # There was no 30 December: after noon of the 29th that of the 31st, 24 hours later.
    assert samoa.at(at("2011-12-29T22:01")) == Holding(8, at("2011-12-30T22:00"))


def test_one_number_at_all_hours_holds_for_good() -> None:
    same = Hours((span("08:00 to 20:00", 3),), 3, BERLIN)
    assert same.at(0.0) == Holding(3)


def test_without_a_zone_it_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    day = Hours((span("08:00 to 20:00", 2),), 8)
    with pytest.MonkeyPatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        hours.time.tzset()
        here = day.at(at("2026-07-01T00:00"))
        words = hour_text(at("2026-07-01T00:00"), None)
    hours.time.tzset()
    assert here == replace(day, zone="Asia/Tokyo").at(at("2026-07-01T00:00"))
    assert words == "09:00 (this machine's time, JST)"


@st.composite
def some_hours(draw: st.DrawFn) -> Hours:
    """Hours that do not overlap, over midnight, too: cuts of the day, some of the pieces between them."""
    cuts = sorted(draw(st.sets(st.integers(0, WHOLE_DAY - 1), min_size=2, max_size=6)))
    numbers = st.none() | st.integers(0, 3)
    pieces = [
        Span(first, last, gpus)
        for first, last in zip(cuts, cuts[1:] + cuts[:1], strict=True)
        if (gpus := draw(numbers)) is not None
    ]
    zones = st.sampled_from(
        [BERLIN, "UTC", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu"]
    )
    return Hours(tuple(pieces), 7, draw(zones))


# Half of them in the two nights in which Berlin sets its clock.
INSTANTS = st.integers(0, 2**31) | st.sampled_from(
    ["2026-10-25T01:00", "2027-03-28T01:00"]
).flatmap(lambda day: st.integers(-86_400, 86_400).map(lambda seconds: int(at(day)) + seconds))


@settings(max_examples=150, deadline=None)
@given(some_hours(), INSTANTS, st.floats(0, 0.999))
def test_at_each_instant_holds_what_the_clock_on_the_wall_says(
    some: Hours, second: int, part: float
) -> None:
    def by_the_clock(instant: float) -> int:
        wall = datetime.fromtimestamp(instant, ZoneInfo(some.zone or ""))
        minute = wall.hour * 60 + wall.minute
        for piece in some.spans:
            over_midnight = piece.last <= piece.first
            after, before = minute >= piece.first, minute < piece.last
            if (after or before) if over_midnight else (after and before):
                return piece.gpus
        return 7

    now = second + part
    holding = some.at(now)
    assert holding.gpus == by_the_clock(now)
    if holding.until is None:
        covered = sum(len(piece.minutes()) for piece in some.spans)
        others = set() if covered == WHOLE_DAY else {7}
        assert {*others, *(piece.gpus for piece in some.spans)} == {holding.gpus}
    else:
        assert holding.until > now
        assert by_the_clock(holding.until) != holding.gpus
        assert by_the_clock(holding.until - 1) == holding.gpus
        assert {by_the_clock(at) for at in range(second, int(holding.until), 60)} == {holding.gpus}


# --- what the file says ------------------------------------------------------------------------------


def test_hours_of_a_file(tmp_path: Path) -> None:
    sweep = read(tmp_path, f"{SWEEP}devices: {{at_most: [{DAY_AND_NIGHT}], zone: {BERLIN}}}\n")
    assert sweep.devices.at_most == Hours((span("08:00 to 20:00", 2),), 8, BERLIN)
    assert sweep.devices.demands == (), "a CPU can fulfil it"
    assert str(sweep.devices.at_most) == "2 from 08:00 to 20:00, 8 at all other hours"
    number = read(tmp_path, f"{SWEEP}devices: {{at_most: 2}}\n")
    assert number.devices.at_most == 2
    assert number.fingerprint != sweep.fingerprint


def test_hours_that_take_the_whole_day_need_no_other_number(tmp_path: Path) -> None:
    both = '{from: "22:30", to: "06:00", gpus: 8}, {from: "06:00", to: "22:30", gpus: 0}'
    sweep = read(tmp_path, f"{SWEEP}devices: {{at_most: [{both}]}}\n")
    assert sweep.devices.at_most == Hours((span("22:30 to 06:00", 8), span("06:00 to 22:30", 0)))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("0", "at_most: must be at least 1, not 0"),
        ("true", 'at_most: must be how many devices, or hours, as in [{from: "08:00", to: '),
        ("two", 'at_most: must be how many devices, or hours, as in [{from: "08:00", to: '),
        ("{gpus: 2}", 'at_most: must be how many devices, or hours, as in [{from: "08:00", to: '),
        ("", "at_most: is empty; give it a value or remove it"),
        ("[]", "at_most: is empty; it needs at least one entry"),
        ("[3]", "at_most[0]: must be a mapping, as in {key: value}, not 3"),
        ("[{gpus: 8}]", "at_most: gives no hours; without any, write the number alone"),
        (
            '[{from: "08:00", to: "20:00", gpus: 2}]',
            "at_most: leaves open what holds from 20:00 to 08:00; add",
        ),
        (
            '[{from: "22:00", to: "06:15", gpus: 2}]',
            "at_most: leaves open what holds from 06:15 to 22:00; add",
        ),
        (
            f"[{DAY_AND_NIGHT}, {{gpus: 3}}]",
            "at_most: gives two numbers without hours; one holds at all",
        ),
        (
            '[{from: "08:00", to: "20:00", gpus: 2}, {from: "19:59", to: "08:00", gpus: 3}]',
            "at_most: 08:00 to 20:00 and 19:59 to 08:00 overlap; at each hour one number holds",
        ),
        (
            '[{from: "08:00", to: "20:00", gpus: 2}, {from: "20:00", to: "08:00", gpus: 3}, {gpus: 4}]',
            "at_most: {gpus: 4} never holds: the others take the whole day",
        ),
        (
            '[{from: "08:00", to: "20:00", gpus: 0}, {gpus: 0}]',
            "at_most: allows no device at any hour; nothing",
        ),
        (
            '[{from: "08:00", to: "08:00", gpus: 2}, {gpus: 8}]',
            "at_most[0]: begins and ends at 08:00; for all",
        ),
        (
            '[{from: "08:00", gpus: 2}, {gpus: 8}]',
            "at_most[0]: has one of from and to; hours have both, and",
        ),
        (
            '[{from: "20:00", to: "24:00", gpus: 2}, {gpus: 8}]',
            'at_most[0].to: "24:00" is the next day\'s "00:00"',
        ),
        (
            '[{from: "8am", to: "20:00", gpus: 2}, {gpus: 8}]',
            "at_most[0].from: '8am' is no time of day: write it",
        ),
        (
            '[{from: "08:60", to: "20:00", gpus: 2}, {gpus: 8}]',
            "at_most[0].from: '08:60' is no time of day: hours",
        ),
        (
            '[{from: 8, to: "20:00", gpus: 2}, {gpus: 8}]',
            "at_most[0].from: 8 is no time of day: write it in quotes",
        ),
        (
            '[{from: "08:00", to: "20:00", gpus: -1}, {gpus: 8}]',
            "at_most[0].gpus: must be at least 0, not -1",
        ),
        (
            '[{from: "08:00", to: "20:00", gpus: 2.5}, {gpus: 8}]',
            "at_most[0].gpus: must be a whole number, not",
        ),
        (
            '[{from: "08:00", to: "20:00"}, {gpus: 8}]',
            "at_most[0].gpus: is missing; it is how many devices may",
        ),
        (
            f"[{DAY_AND_NIGHT}], zone: europe/berlin",
            "zone: no time zone 'europe/berlin' is known here; did you mean",
        ),
        (
            f"[{DAY_AND_NIGHT}], zone: Europe",
            "zone: no time zone 'Europe' is known here; did you mean Europe/",
        ),
        (
            f"[{DAY_AND_NIGHT}], zone: ../../../etc/passwd",
            "zone: no time zone '../../../etc/passwd' is known here, as",
        ),
        (
            f"[{DAY_AND_NIGHT}], zone: right/{BERLIN}",
            f"zone: no time zone 'right/{BERLIN}' is known here; did",
        ),
        (
            f"[{DAY_AND_NIGHT}], zone: ''",
            "zone: no time zone '' is known here, as Europe/Berlin is",
        ),
        (
            f"[{DAY_AND_NIGHT}], zone: 2",
            'zone: must be the name of a time zone, as in "Europe/Berlin", not 2',
        ),
        (
            f"2, zone: {BERLIN}",
            "zone: says in which zone the hours of at_most are, and there are none; remove",
        ),
        (
            f"[{DAY_AND_NIGHT}], per_task: 9",
            "at_most: 8 is less than what a task has at once (9, devices.per_task), so it could",
        ),
        # One fault is told once, and takes what hangs on it along.
        (
            f'[{{from: "8am", to: "20:00", gpus: 2}}], zone: {BERLIN}',
            "at_most[0].from: '8am' is no time of day",
        ),
    ],
)
def test_what_is_said_of_hours_that_cannot_be(tmp_path: Path, given: str, problem: str) -> None:
    (said,) = problems(tmp_path, f"{SWEEP}devices: {{at_most: {given}}}\n")
    assert said.startswith(f"devices.{problem}")


def test_an_unknown_key_of_hours(tmp_path: Path) -> None:
    entry = '{from: "08:00", til: "20:00", to: "21:00", gpus: 2}'
    (said,) = problems(tmp_path, f"{SWEEP}devices: {{at_most: [{entry}, {{gpus: 8}}]}}\n")
    assert said.startswith("devices.at_most[0].til: unknown key; ")


def test_a_time_without_quotes_is_no_number_of_minutes(tmp_path: Path) -> None:
    entry = '{from: "08:00", to: 20:00, gpus: 2}'
    said = problems(tmp_path, f"{SWEEP}devices: {{at_most: [{entry}, {{gpus: 8}}]}}\n")
    assert said[0].endswith(
        "at_most[0].to: 20:00 means 1200 in YAML; write 1200, or put it in quotes"
    )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.builds(Span, *[st.integers(0, WHOLE_DAY - 1)] * 2, st.integers(0, 2)), max_size=3)
)
def test_hours_are_refused_or_say_one_number_for_each_minute(spans: list[Span]) -> None:
    spans = [some for some in spans if some.first != some.last]
    minutes = [minute for some in spans for minute in some.minutes()]
    try:
        read_hours(spans, [5], None)
    except ValueError:
        assert len(set(minutes)) < len(minutes) or len(set(minutes)) in (0, WHOLE_DAY)
    else:
        assert len(set(minutes)) == len(minutes)


def test_a_machine_without_time_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> ZoneInfo:
        raise KeyError(name)

    monkeypatch.setattr(hours, "_zone", unknown)
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    with pytest.raises(ValueError, match="this machine knows no time zones"):
        read_zone(BERLIN)
    # A journal from another machine is told all the same.
    assert hour_text(at("2026-07-01T06:00"), BERLIN).endswith("(" + hours.zone_text(None) + ")")
