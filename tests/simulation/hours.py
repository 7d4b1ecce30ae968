"""Hours in the modelled world: the dispatcher's own watch of them, and what the clock on the wall says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from scheduler.config.hours import Hours, Span
from scheduler.config.sweep import DeviceSettings, Sweep
from scheduler.core import events as ev
from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.dispatch.wishes.hours import HourWatch
from scheduler.dispatch.wishes.sweep_in_use import SweepInUse
from tests.simulation.safety import demand

if TYPE_CHECKING:
    from tests.simulation.world import World

ALL = 8  # no world has more devices
# When the clock is set there, in seconds since 1970: on 2026-10-25 and 2027-03-28 at 01:00 UTC.
_IS_SET = {"Europe/Berlin": (1_792_890_000, 1_806_195_600), "UTC": (1_800_000_000,)}
# Whatever is planted in it: the judge goes by what it was.
_holding = Hours.at


def some_hours(rng: Random) -> Hours:
    """Return hours with a change or two in each hour of the day, some of them over its end."""
    spans = []
    for hour in range(0, 24, 2):
        first = hour * 60 + rng.choice((0, 15, 45))
        length = rng.choice((1, 5, 20, 70))
        spans.append(Span(first, (first + length) % 1440, rng.choice((0, 1, 1, 2, 3))))
    return Hours(tuple(spans), ALL, rng.choice(list(_IS_SET)))


def some_night(hours: Hours, rng: Random) -> float:
    """Return a time of day soon after which the clock is set, if it ever is in that zone."""
    return rng.choice(_IS_SET[hours.zone or ""]) - rng.uniform(0.0, 3600.0)


class HoursOfShell:
    """What one dispatcher knows of the hours, held against the clock on the wall."""

    def __init__(self, world: World, handle: Callable[[ev.Event], None]) -> None:
        self._world = world
        self._use = SweepInUse(_sweep(world.hours))
        self._progress = SweepProgress({})
        self._watch = HourWatch(
            self._use, self._progress, handle, self._emit, self._time_of_day, lambda: world.now
        )
        # When it is to wake at the latest, and by then to have woken, if no clock is set and nobody sleeps.
        self.deadline: float | None = None
        self._change: float | None = None
        self._undisturbed = world.disturbances

    def _emit(self, event: je.JournalEvent) -> None:
        self._progress.apply(je.Entry(self._time_of_day(), event))

    def _time_of_day(self) -> float:
        return self._world.time_of_day(self._world.now)

    def take_in(self) -> None:
        """Go by the hours that the sweep file has now."""
        self._use.take_in(_sweep(self._world.hours))
        self.look()

    def look(self) -> None:
        """Have the watch look, as the dispatcher does whenever it wakes."""
        world, setting = self._world, self._use.now.devices.at_most
        on_time = self._change is None or world.now <= self._change + 0.001
        undisturbed = self._undisturbed == world.disturbances
        demand(
            "a change of the hour wakes the dispatcher", on_time or not undisturbed, self._change
        )
        self._watch.look()
        self.deadline = self._watch.deadline()
        ahead = self.deadline is None or self.deadline > world.now
        demand("once it is awake, the next change is ahead", ahead, self.deadline)
        until = _holding(setting, self._time_of_day()).until if isinstance(setting, Hours) else None
        self._change = None if until is None else world.now + until - self._time_of_day()
        self._undisturbed = world.disturbances

    def allowed(self) -> int | None:
        """Return how many devices may be in use at this moment; None: all, or the hours say nothing."""
        setting = self._use.now.devices.at_most
        if not isinstance(setting, Hours):
            return None
        wall = datetime.fromtimestamp(self._time_of_day(), ZoneInfo(setting.zone or ""))
        minute = wall.hour * 60 + wall.minute
        held = [span.gpus for span in setting.spans if minute in span.minutes()]
        return held[0] if held else setting.otherwise


def _sweep(hours: Hours | None) -> Sweep:
    return Sweep("simulated", (), (), devices=DeviceSettings(at_most=hours))
