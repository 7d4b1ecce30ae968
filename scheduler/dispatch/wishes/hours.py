"""How many devices may be in use at this hour: the core is told at the start, and at each change."""

from __future__ import annotations

import time
from collections.abc import Callable

from scheduler.config.hours import Hours
from scheduler.core import events as ev
from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import Limit
from scheduler.dispatch.wishes.sweep_in_use import SweepInUse


class HourWatch:
    """Follows the hour, on a clock that may be set forward and back.

    It has no thread: who sleeps does so no longer than to its `deadline`, and then has it `look`.
    """

    def __init__(
        self,
        use: SweepInUse,
        progress: SweepProgress,
        handle: Callable[[ev.Event], None],
        emit: Callable[[je.JournalEvent], None],
        time_of_day: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin as the core does: all devices may be in use.

        Args:
            use: the sweep as it is now.
            progress: as the journal has told it.
            handle: takes what the core is told.
            emit: takes what the journal is told, unless it has it from the dispatcher's start.
            time_of_day: in seconds since 1970.
            monotonic: by which the deadline is given.
        """
        self._use = use
        self._progress = progress
        self._handle = handle
        self._emit = emit
        self._time_of_day = time_of_day
        self._monotonic = monotonic
        self._told = Limit()
        # By what the number was found, and when.
        self._setting: int | Hours | None = None
        self._found = 0.0

    def look(self) -> None:
        """Tell the number that holds now, if it is another one or holds until another time."""
        setting, now = self._use.now.devices.at_most, self._time_of_day()
        until = self._told.until
        holds = until is None or self._found <= now < until
        if setting is self._setting and holds:
            return
        self._setting, self._found = setting, now
        limit = limit_at(setting, now)
        if limit == self._told:
            return
        self._told = limit
        if limit != self._progress.limit:
            self._emit(je.AtMost(limit.devices, limit.until, limit.zone))
        self._handle(ev.AtMost(limit.devices))

    def deadline(self) -> float | None:
        """Return when, in monotonic time, the number changes; None: it holds for good."""
        until = self._told.until
        return None if until is None else self._monotonic() + until - self._time_of_day()


def limit_at(setting: int | Hours | None, now: float) -> Limit:
    """Return how many devices may be in use at a time of day, in seconds."""
    if not isinstance(setting, Hours):
        return Limit(setting)
    holding = setting.at(now)
    return Limit(holding.gpus, holding.until, setting.zone)
