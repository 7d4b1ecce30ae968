"""Times of day, which files record, and monotonic time, by which decisions are made."""

from __future__ import annotations

import time

from scheduler.devices.processes import boot_id
from scheduler.storage.attempts_file import StartLine


class Clock:
    """Turns times of day, which others wrote down, into this dispatcher's monotonic time and back."""

    def __init__(self) -> None:
        self._boot = boot_id()

    def started(self, start: StartLine) -> float:
        """Return when an attempt started; exact within one boot, whatever the time of day did."""
        if start.boot == self._boot and start.monotonic is not None:
            return min(start.monotonic, time.monotonic())
        return self.monotonic(start.started)

    def monotonic(self, at: float | None) -> float:
        """Return the monotonic time of a time of day; nothing lies in the future, whatever clocks say.

        A time that is not known counts as now.
        """
        age = time.time() - at if at is not None else 0.0
        return time.monotonic() - max(0.0, age)

    def time_of_day(self, at: float) -> float:
        """Return the time of day of a monotonic time."""
        return time.time() + at - time.monotonic()
