"""The energy that one configuration takes, over a stretch that the driver's counter can tell.

NVML's counter of energy moves about every 100 ms and shows what was used until about 100 ms before.
Read at both ends of a call of 0.3 s it misses a part of the call and charges it to the next one,
which is another configuration's. So calls of one configuration follow each other for seconds, and
the counter is only read where it moves, and where it has caught up with a device that is quiet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.errors import UnknownFigureError

# of calls; a counter that is read 2 ms late at each end is then wrong by 0.2 %
STRETCH_SECONDS = 2.0
# by then the counter shows all that was used before: three times the lag that was seen
_SECONDS_TO_SETTLE = 0.3
# a counter that does not move for so long does not work
_SECONDS_WITHOUT_MOVE = 2.0
_SECONDS_BETWEEN_READINGS = 0.001


@dataclass(frozen=True)
class Energy:
    """What calls of one configuration took."""

    joules: float
    """Of the calls alone: what the quiet device took around them is deducted."""
    seconds: float
    """In the calls."""
    calls: int
    idle_watts: float
    """What the device took while it was quiet, right after the calls."""


def measure(
    counter: Callable[[], float | None],
    call: Callable[[], float],
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Energy:
    """Call again and again for two seconds, and return what the calls took.

    The device has to be quiet before, and after each call.

    Args:
        counter: returns the joules that the device has used since some time in the past; None
            where it does not answer.
        call: makes one batch of images and returns the seconds that it took.
        clock: returns seconds.
        sleep: waits for a number of seconds.

    Raises:
        UnknownFigureError: the counter does not answer, or stands still.
    """
    watch = _Watch(counter, clock, sleep)
    began, joules_before = watch.settle()
    seconds, calls = 0.0, 0
    while seconds < STRETCH_SECONDS:
        seconds += call()
        calls += 1
    ended, joules_after = watch.settle()
    # the counter's lag is the same at both ends of every span, so no span is longer or shorter by it
    quiet_end, joules_quiet = watch.settle()
    idle_watts = (joules_quiet - joules_after) / (quiet_end - ended)
    quiet = (ended - began) - seconds
    return Energy(
        joules=joules_after - joules_before - idle_watts * quiet,
        seconds=seconds,
        calls=calls,
        idle_watts=idle_watts,
    )


@dataclass(frozen=True)
class _Watch:
    """A counter that is looked at until it moves."""

    counter: Callable[[], float | None]
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def settle(self) -> tuple[float, float]:
        """Wait until the counter has caught up; return when it moved then, and to how many joules.

        Raises:
            UnknownFigureError: it does not answer, or stands still.
        """
        start = self.clock()
        moved_at, joules = start, self._read()
        while moved_at < start + _SECONDS_TO_SETTLE:
            self.sleep(_SECONDS_BETWEEN_READINGS)
            now, read = self.clock(), self._read()
            if read != joules:
                moved_at, joules = now, read
            elif now > moved_at + _SECONDS_WITHOUT_MOVE:
                raise UnknownFigureError("the driver's energy counter stands still")
        return moved_at, joules

    def _read(self) -> float:
        joules = self.counter()
        if joules is None:
            raise UnknownFigureError("the driver's energy counter does not answer")
        return joules
