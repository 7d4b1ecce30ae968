"""Whether an attempt still shows signs of life: output, a device that computes, processes that do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from scheduler.devices.processes import read_stat
from scheduler.executors.local.process_tree import descendants
from scheduler.storage.paths import size_of

BUSY = 0.05  # of one core, on average between two looks; a process that only waits uses less


class Life:
    """The signs of life of one attempt, as far as they differ between two looks.

    By what changed, not by the log's own time: the time of day may be set while the attempt runs, and
    nothing that works must be stopped for that. The first look finds everything new.
    """

    def __init__(self, log: Path, cpu_time: Callable[[], float]) -> None:
        """Look at an attempt for the first time later.

        Args:
            log: its log.
            cpu_time: tells how many seconds of CPU time its processes have used.
        """
        self._log = log
        self._cpu_time = cpu_time
        # Of the log.
        self._size: int | None = None
        # Seconds that the attempt's processes have used.
        self._cpu = 0.0
        self._looked = 0.0
        self._alive = 0.0

    def look(self, now: float, device_active: float | None) -> float:
        """Return when the attempt last showed life; all times are in one clock's seconds.

        Args:
            device_active: when its device was last seen computing for it. None: that cannot be told
                (a MIG instance, a GPU that others use too, a CPU slot); the CPU time of its processes
                counts instead, since a program that computes on a GPU keeps a core busy as well.
        """
        size = size_of(self._log)
        if size != self._size:
            self._alive = now
        if device_active is not None:
            self._alive = max(self._alive, device_active)
        else:
            cpu = self._cpu_time()
            if cpu - self._cpu > BUSY * (now - self._looked):
                self._alive = now
            self._cpu = cpu
        self._size, self._looked = size, now
        return self._alive


def cpu_time(supervisor: int) -> float:
    """Return the CPU time that a supervisor and all processes below it have used, in seconds."""
    ticks = 0
    for pid in (supervisor, *descendants(supervisor)):
        with contextlib.suppress(OSError):
            ticks += read_stat(pid).cpu_ticks
    return ticks / os.sysconf("SC_CLK_TCK")
