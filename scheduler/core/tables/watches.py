"""When each running attempt is looked at: for its limits of time, silence and output. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from scheduler.config.sweep import Limits
from scheduler.config.units import format_duration, format_size
from scheduler.core.states import Need
from scheduler.core.verdict import Kind, Verdict

LOOKS_PER_STALL = 4  # signs of life are seen by what changed between two looks
OUTPUT_CHECK = 1.0  # seconds between two looks at what an attempt has written


class Watch(IntEnum):
    """What an attempt is looked at for when the time has come."""

    TIMEOUT = 0
    STALL = 1
    OUTPUT = 2


@dataclass(slots=True)
class RunningAttempt:
    """A task's attempt on its devices; ``started`` is in the core's time, infinite while it is queued."""

    devices: tuple[str, ...]
    need: Need
    started: float
    halvings: int
    stopping: bool = False


class Watches:
    """When the running attempts are to be looked at, and what a look means under the sweep's limits."""

    def __init__(self, limits: Limits, running: Mapping[int, RunningAttempt]) -> None:
        """Watch over ``running``, which the caller keeps up to date."""
        self._limits = limits
        self._running = running
        # Heap: (when, task, when its attempt started, what for).
        self.heap: list[tuple[float, int, float, Watch]] = []

    def begin(self, task: int, started: float) -> None:
        """Watch an attempt from now on."""
        limits = self._limits
        if limits.timeout is not None:
            heapq.heappush(self.heap, (started + limits.timeout, task, started, Watch.TIMEOUT))
        if limits.stall is not None:
            look = started + limits.stall / LOOKS_PER_STALL
            heapq.heappush(self.heap, (look, task, started, Watch.STALL))
        if limits.log is not None:
            heapq.heappush(self.heap, (started + OUTPUT_CHECK, task, started, Watch.OUTPUT))
        if len(self.heap) > 64 + 4 * len(self._running):  # mostly of attempts that have ended
            self.heap = [watch for watch in self.heap if self.hold(watch[1], watch[2])]
            heapq.heapify(self.heap)

    def take_limits(self, limits: Limits) -> None:
        """Watch what runs by other limits from now on."""
        if limits != self._limits:
            self._limits, self.heap = limits, []
            for task, attempt in self._running.items():
                self.begin(task, attempt.started)

    def timeout(self) -> Verdict:
        """Return the verdict on an attempt whose time is over."""
        limit = format_duration(self._limits.timeout or 0)
        return Verdict(Kind.TIMEOUT, f"still running after {limit} (limits.timeout)")

    def lived(self, task: int, at: float, now: float) -> Verdict | None:
        """Take an attempt's last sign of life: look again in time, or return why it must be stopped."""
        running, stall = self._running[task], self._limits.stall
        if stall is None:
            return None
        due = max(at, running.started) + stall
        if due <= now:
            limit = format_duration(stall)
            cause = f"no output and no computing for {limit} (limits.stall)"
            return Verdict(Kind.STALLED, cause)
        look = min(due, now + stall / LOOKS_PER_STALL)
        heapq.heappush(self.heap, (look, task, running.started, Watch.STALL))
        return None

    def wrote(self, task: int, log: int, results: int, now: float) -> Verdict | None:
        """Take the bytes of an attempt's files: look again in time, or return why it must be stopped."""
        running, most = self._running[task], self._limits.log
        if most is None:
            return None
        for what, size in (("log", log), ("results file", results)):
            if size > most:
                grown = f"its {what} has grown to {format_size(size)}"
                cause = f"{grown}, more than {format_size(most)} (limits.log)"
                return Verdict(Kind.TOO_MUCH_OUTPUT, cause)
        heapq.heappush(self.heap, (now + OUTPUT_CHECK, task, running.started, Watch.OUTPUT))
        return None

    def hold(self, task: int, started: float) -> bool:
        """Say whether what a watch was set for still runs, and was not told to stop."""
        running = self._running.get(task)
        return running is not None and not running.stopping and running.started == started
