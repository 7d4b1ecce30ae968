"""Times of day, which files record, and monotonic time, by which decisions are made."""

from __future__ import annotations

import time

from scheduler.executors.local.supervisor import identity
from scheduler.storage.attempts_file import AttemptRecord


class Clock:
    """Turns times of day, which others wrote down, into this dispatcher's monotonic time and back."""

    def __init__(self) -> None:
        self._boot = identity()["boot"]

    def started(self, record: AttemptRecord) -> float:
        """Return when an attempt started; exact within one boot, whatever the time of day did."""
        monotonic = record.started.get("monotonic")
        if record.started.get("boot") == self._boot and isinstance(monotonic, int | float):
            return float(monotonic)
        return self.monotonic(record.started.get("started"))

    def monotonic(self, at: object) -> float:
        """Return the monotonic time of a time of day; nothing lies in the future, whatever clocks say."""
        age = time.time() - at if isinstance(at, int | float) else 0.0
        return time.monotonic() - max(0.0, age)

    def time_of_day(self, at: float) -> float:
        """Return the time of day of a monotonic time."""
        return time.time() + at - time.monotonic()
