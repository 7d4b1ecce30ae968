"""A number of devices that depends on the hour: what the file says of it, and what holds at an instant.

Which hour it is at an instant, the zone is asked; nothing here adds up hours on the clock on the wall, which
skips some and repeats others.
"""

from __future__ import annotations

import difflib
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    StrictInt,
    Tag,
    model_validator,
)

from scheduler.config.matrix.axes import STRICT
from scheduler.config.strict_yaml import Unusable

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_DAY = 24 * 60  # minutes
# Seconds that are looked ahead for a change; each comes within two days, or three where a zone skips one.
_AHEAD = 3 * 24 * 3600
_TIME = re.compile(r"(\d\d?):(\d\d)", re.ASCII)
MOST_DEVICES = 4096
_EXAMPLE = '[{from: "08:00", to: "20:00", gpus: 2}, {gpus: 8}]'
# Copies of the zones, among them some that count leap seconds.
_COPIES = ("posix/", "right/")
# What a zone that is none raises: its name may be a folder's, a table's, a path's out of there.
_UNKNOWN = (LookupError, ValueError, OSError)


@dataclass(frozen=True, slots=True)
class Span:
    """Hours of every day, as minutes since midnight: from ``first`` up to ``last``, be it over midnight."""

    first: int
    last: int
    gpus: int

    def minutes(self) -> list[int]:
        """Return the minutes of the day that it holds."""
        return [minute % _DAY for minute in range(self.first, self.first + self._length)]

    @property
    def _length(self) -> int:
        return (self.last - self.first) % _DAY

    def __str__(self) -> str:
        return f"{_spelt(self.first)} to {_spelt(self.last)}"


@dataclass(frozen=True, slots=True)
class Holding:
    """How many devices may be in use, and until when: a time of day in seconds; None: for good."""

    gpus: int
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Hours:
    """How many devices may be in use, by the hour."""

    spans: tuple[Span, ...]
    # At all other hours; None: there are none.
    otherwise: int | None = None
    # By its name, as in Europe/Berlin; None: this machine's.
    zone: str | None = None

    def __str__(self) -> str:
        said = [f"{span.gpus} from {span}" for span in self.spans]
        if self.otherwise is not None:
            said.append(f"{self.otherwise} at all other hours")
        return ", ".join(said)

    @property
    def most(self) -> int:
        """The largest of its numbers."""
        return max(*(span.gpus for span in self.spans), self.otherwise or 0)

    def at(self, now: float) -> Holding:
        """Return what holds at an instant, and until when.

        Args:
            now: in seconds since 1970.
        """
        numbers, zone = self._by_minute(), None if self.zone is None else _zone(self.zone)
        at = math.floor(now)
        wall = datetime.fromtimestamp(at, zone)
        gpus = numbers[_minute(wall)]
        if set(numbers) == {gpus}:
            return Holding(gpus)
        while numbers[_minute(wall)] == gpus and at < now + _AHEAD:
            at += 60 - wall.second
            wall = datetime.fromtimestamp(at, zone)
        return Holding(gpus, float(at))

    def _by_minute(self) -> list[int]:
        numbers = [self.otherwise or 0] * _DAY
        for span in self.spans:
            for minute in span.minutes():
                numbers[minute] = span.gpus
        return numbers


def _minute(wall: datetime) -> int:
    return wall.hour * 60 + wall.minute


def read_hours(spans: Sequence[Span], others: Sequence[int], zone: str | None) -> Hours:
    """Return the hours that a file gives.

    Args:
        spans: with the number that holds in each.
        others: the numbers that are given without hours.
        zone: the name of the zone, which `read_zone` knows; None: this machine's.

    Raises:
        ValueError: they leave open how many devices may be in use, or say it twice, or always none.
    """
    said: dict[int, Span] = {}
    for span in spans:
        for minute in span.minutes():
            if (other := said.setdefault(minute, span)) is not span:
                raise ValueError(f"{other} and {span} overlap; at each hour one number holds")
    if len(others) > 1:
        raise ValueError(
            "gives two numbers without hours; one holds at all hours that have no other"
        )
    if not spans:
        raise ValueError("gives no hours; without any, write the number alone")
    open_hours = _first_gap(set(said))
    if open_hours is not None and not others:
        raise ValueError(
            f"leaves open what holds from {open_hours}; add {{gpus: 8}} for all other hours"
        )
    if open_hours is None and others:
        raise ValueError(f"{{gpus: {others[0]}}} never holds: the others take the whole day")
    if not any((*others, *(span.gpus for span in spans))):
        raise ValueError("allows no device at any hour; nothing could ever run")
    return Hours(tuple(spans), others[0] if others else None, zone)


def _first_gap(said: set[int]) -> str | None:
    """Return the first hours that are not in ``said``, as minutes of the day; None: there are none."""
    # A gap over midnight begins before it.
    first = next((m for m in range(_DAY) if m not in said and (m - 1) % _DAY in said), None)
    if first is None:
        return None
    last = next(m % _DAY for m in range(first, first + _DAY) if m % _DAY in said)
    return f"{_spelt(first)} to {_spelt(last)}"


def read_time(text: object) -> int:
    """Return the minutes since midnight of a time of day.

    Raises:
        ValueError: it is none.
    """
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'{text!r} is no time of day: write it in quotes, as in "08:30"')
    hour, minute = map(int, found.groups())
    if (hour, minute) == (24, 0):
        raise ValueError('"24:00" is the next day\'s "00:00"; write that')
    if hour > 23 or minute > 59:
        raise ValueError(
            f"{text!r} is no time of day: hours go from 00 to 23, minutes from 00 to 59"
        )
    return hour * 60 + minute


def read_zone(name: object) -> str:
    """Return the name of a time zone that is known here.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(name, str):
        raise ValueError('must be the name of a time zone, as in "Europe/Berlin"')  # noqa: TRY004  # pydantic's
    try:
        if name and not name.startswith(_COPIES):
            _zone(name)
            return name
    except _UNKNOWN:
        pass
    from zoneinfo import available_timezones

    known = available_timezones()
    if not known:
        raise ValueError(
            "this machine knows no time zones (its package tzdata is missing); without zone, its own is taken"
        )
    close = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"; did you mean {close[0]}?" if close else ", as Europe/Berlin is"
    raise ValueError(f"no time zone {name!r} is known here{hint}")


def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo  # which takes a while, and few sweeps have hours

    return ZoneInfo(name)


def zone_text(zone: str | None) -> str:
    """Return a zone in words."""
    return zone if zone is not None else f"this machine's time, {time.strftime('%Z')}"


def hour_text(at: float, zone: str | None) -> str:
    """Return what the clock on the wall shows at an instant, and where that hangs.

    Args:
        at: in seconds since 1970.
        zone: by its name; None, or one that is not known here: this machine's.
    """
    try:
        there = None if zone is None else _zone(zone)
    except _UNKNOWN:
        zone = there = None
    return f"{datetime.fromtimestamp(at, there):%H:%M} ({zone_text(zone)})"


def _spelt(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


# --- the key of the file -----------------------------------------------------------------------------


class SomeHours(BaseModel):
    """An entry of `devices.at_most`: a number, and from when to when it holds, or neither."""

    model_config = STRICT
    first: Annotated[int | None, BeforeValidator(read_time), Field(alias="from")] = None
    last: Annotated[int | None, BeforeValidator(read_time), Field(alias="to")] = None
    gpus: Annotated[StrictInt, Field(ge=0, le=MOST_DEVICES)]

    @model_validator(mode="after")
    def _check(self) -> SomeHours:
        if (self.first is None) != (self.last is None):
            raise ValueError("has one of from and to; hours have both, and all other hours neither")
        if self.first is not None and self.first == self.last:
            raise ValueError(
                f"begins and ends at {_spelt(self.first)}; for all hours leave out from and to"
            )
        return self

    def span(self) -> Span | None:
        """Return its hours; None: it holds at all that have no other number."""
        if self.first is None or self.last is None:
            return None
        return Span(self.first, self.last, self.gpus)


def hours_of(entries: Sequence[SomeHours], zone: str | None = None) -> Hours:
    """Return the hours that entries of a file mean together; raises what `read_hours` does."""
    spans = [span for entry in entries if (span := entry.span()) is not None]
    return read_hours(spans, [entry.gpus for entry in entries if entry.first is None], zone)


def _checked(entries: list[SomeHours]) -> list[SomeHours]:
    hours_of(entries)
    return entries


def _number_or_hours(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | list | Unusable):
        raise ValueError(f"must be how many devices, or hours, as in {_EXAMPLE}")  # noqa: TRY004  # pydantic's
    return value


AtMost = Annotated[
    Annotated[StrictInt, Field(ge=1, le=MOST_DEVICES), Tag("(number)")]
    | Annotated[list[SomeHours], Field(min_length=1), AfterValidator(_checked), Tag("(hours)")],
    Discriminator(lambda value: "(hours)" if isinstance(value, list) else "(number)"),
    BeforeValidator(_number_or_hours),
]
