"""Devices that are lent for a time: whichever executor has them, what runs there is stopped in time.

From when on nothing more is started is a matter of what an attempt takes; that what runs is stopped `MARGIN`
before the end is not: a worker has ten seconds after TERM, and checkpoints, journal and whoever called this
program some more.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from scheduler.core.events import TimeShort
from scheduler.devices.fairness.claims import Demand
from scheduler.devices.model import Device
from scheduler.executors.base import Ahead, Executor, ExecutorEvent, StartRequest
from scheduler.executors.slurm import commands
from scheduler.executors.slurm.commands import SlurmError
from scheduler.storage.attempts_file import AttemptRecord

# Seconds before the end at which what runs is stopped.
MARGIN = 60.0
# Seconds without which no start is sensible.
LEAST = 30.0
# Of an attempt that goes on from its rows, so much of its time must be left at most.
WORTH_BEGINNING = 300.0
# Seconds between two questions when the end is: an administrator may put it off, or bring it forward.
ASK = 60.0


def time_to_start(took: Sequence[float], *, keeps_rows: bool, whole: float) -> float:
    """Return how many seconds must be left for a start to be sensible.

    Args:
        took: seconds of attempts that completed their tasks.
        keeps_rows: an attempt goes on from the rows of the one before.
        whole: seconds that there were in all; a task that takes longer is tried all the same.
    """
    if not took:
        return LEAST
    typical = min(statistics.median(took), WORTH_BEGINNING if keeps_rows else whole / 2)
    return max(LEAST, typical)


class EndOfJob(threading.Thread):
    """Knows when a job of Slurm's ends, as far as Slurm has said."""

    def __init__(self, job: int, end: float | None, changed: Callable[[], None]) -> None:
        """Begin with what is known; ``changed`` is called in this thread when that is something else."""
        super().__init__(name="end of job", daemon=True)
        self._job = job
        # Time of day in seconds; None: not known, or never.
        self.at = end
        self._changed = changed
        self._ask = threading.Event()
        self._leaving = False

    def run(self) -> None:
        while not self._leaving:
            if self._ask.wait(ASK):
                self._ask.clear()
            with contextlib.suppress(SlurmError):
                at = commands.end_of(self._job)
                if at != self.at:
                    self.at = at
                    self._changed()

    def ask(self) -> None:
        """Ask now."""
        self._ask.set()

    def finish(self) -> None:
        """Ask no more."""
        self._leaving = True
        self._ask.set()


class LentExecutor(Executor):
    """Another executor, in a job of Slurm's that ends."""

    def __init__(
        self,
        inner: Executor,
        job: int,
        end: float | None,
        to_start: Callable[[], float],
    ) -> None:
        """Begin; from now on SIGUSR1 means that the job ends soon.

        Args:
            inner: what has the devices.
            job: the number of the job that this process is in.
            end: when it ends (time of day, seconds); None: not known, or never.
            to_start: returns how many seconds must be left for a start to be sensible.
        """
        self._inner = inner
        self._job = job
        self._to_start = to_start
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(inner, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._end = EndOfJob(job, end, lambda: os.eventfd_write(self._wake, 1))
        self._signalled = False
        # What was told of the time.
        self._told: TimeShort | None = None
        signal.signal(signal.SIGUSR1, self._hear_signal)
        self._end.start()

    def _hear_signal(self, *_: object) -> None:
        self._signalled = True
        os.eventfd_write(self._wake, 1)

    @property
    def devices(self) -> Sequence[Device]:
        return self._inner.devices

    @property
    def where(self) -> str:
        return f"{self._inner.where}; in Slurm's job {self._job}"

    @property
    def scratch(self) -> Path | None:
        return self._inner.scratch

    @property
    def ends_with_us(self) -> str:
        return f"Slurm ends job {self._job}"

    # --- as the other does ---------------------------------------------------------------------

    def adopt(self, task: str, devices: tuple[str, ...], known: AttemptRecord | None) -> bool:
        return self._inner.adopt(task, devices, known)

    def foresee(self, ahead: Ahead) -> None:
        self._inner.foresee(ahead)

    def heed(self, demand: Callable[[], Demand]) -> None:
        self._inner.heed(demand)

    def offer_devices(self) -> None:
        self._inner.offer_devices()

    def start(self, request: StartRequest) -> None:
        self._inner.start(request)

    def stop(self, task: str) -> None:
        self._inner.stop(task)

    def last_sign_of_life(self, task: str) -> float:
        return self._inner.last_sign_of_life(task)

    def close(self) -> None:
        self._end.finish()
        self._inner.close()

    # --- and the time --------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._selector.fileno()

    def deadline(self) -> float | None:
        times = [self._inner.deadline()]
        if self._end.at is not None and not (self._told is not None and self._told.stop):
            before = MARGIN + (self._to_start() if self._told is None else 0.0)
            times.append(time.monotonic() + self._end.at - before - time.time())
        return min((at for at in times if at is not None), default=None)

    def events(self) -> Iterator[ExecutorEvent]:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if (told := self._time_short()) is not None:  # first, so that nothing is started now
            self._told = told
            yield told
        yield from self._inner.events()

    def _time_short(self) -> TimeShort | None:
        """Return what is to be told of the time now; each step once."""
        told, end = self._told, self._end.at
        if told is not None and told.stop:
            return None
        left = None if end is None else end - MARGIN - time.time()
        if left is not None and left <= 0:
            return TimeShort(f"the time of Slurm's job {self._job} is over", stop=True)
        if told is not None:
            return None
        if self._signalled:  # as it may be when the job is to make room for another
            self._end.ask()
            return TimeShort(f"Slurm's job {self._job} ends soon (SIGUSR1)", stop=end is None)
        if left is not None and left <= self._to_start():
            return TimeShort(f"the time of Slurm's job {self._job} is nearly over")
        return None
