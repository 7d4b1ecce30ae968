"""Room for attempts on a cluster, told of as devices; and what becomes of attempts, told as events."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from scheduler.config.sweep import Sweep
from scheduler.core.events import Began, DeviceBusy, DeviceIdle, Queued
from scheduler.core.journal_events import DeviceState
from scheduler.devices.model import Device
from scheduler.executors import base
from scheduler.executors.base import Executor, ExecutorEvent, Refusal, StartRequest
from scheduler.executors.code_copy import CodeCopy
from scheduler.executors.worker_process import worker_environment
from scheduler.storage.attempts_file import StartLine

# Of a start line, what a job in the queue must share with a request to do in its place.
_SAME = ("attempt", "task", "digest", "halvings", "overrides", "settings", "source")
# Seconds until a cluster is asked again whether it takes a job.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0


class SlotExecutor(Executor):
    """An executor whose devices are slots: each room for one attempt, wherever the cluster puts it.

    What its own thread finds it hands to `_happened`, `_waits` and `_not_taken`, by `_post` if need be.
    """

    # How its cluster is called, in sentences.
    engine: str

    def __init__(self, found: tuple[Sequence[Device], str]) -> None:
        """Begin without attempts.

        Args:
            found: the slots, and how they were found.
        """
        self._slots, self._where = found
        self._devices_of: dict[str, tuple[str, ...]] = {}
        self._offering = False
        # The cluster takes no job now: when it is asked again (monotonic), and how long that was put off.
        self._ask_again: float | None = None
        self._pause = 0.0
        # Slots of which something was told.
        self._told: set[str] = set()
        self._inbox: queue.SimpleQueue[Callable[[], Iterator[ExecutorEvent]]] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    @property
    def devices(self) -> Sequence[Device]:
        return self._slots

    @property
    def where(self) -> str:
        return self._where

    def offer_devices(self) -> None:
        self._offering = True
        self._post(self._offer_all)

    def fileno(self) -> int:
        return self._wake

    def deadline(self) -> float | None:
        return self._ask_again

    def events(self) -> Iterator[ExecutorEvent]:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while not self._inbox.empty():
            yield from self._inbox.get()()
        if self._ask_again is not None and time.monotonic() >= self._ask_again:
            self._ask_again = None
            yield from (DeviceIdle(slot) for slot in self._free()[:1])

    def _post(self, tell: Callable[[], Iterator[ExecutorEvent]]) -> None:
        """Have something told by `events`; safe from any thread."""
        self._inbox.put(tell)
        os.eventfd_write(self._wake, 1)

    def _happened(self, event: ExecutorEvent) -> None:
        """Take an event of an attempt's; from any thread."""
        match event:
            case base.Started():
                self._post(partial(self._runs, event))
            case Queued():
                self._post(partial(self._queued, event))
            case _:
                assert isinstance(event, base.Ended | base.Lost | base.Refused | base.Failed)
                self._post(partial(self._over, event))

    def _queued(self, event: Queued) -> Iterator[ExecutorEvent]:
        yield event
        if self._pause:  # it takes jobs again
            self._pause, self._ask_again = 0.0, None
            yield from self._offer_all()

    def _runs(self, event: base.Started) -> Iterator[ExecutorEvent]:
        yield Began(event.task)
        yield event
        yield from self._show(event.task, None)

    def _show(self, task: str, why: str | None) -> Iterator[ExecutorEvent]:
        """Tell why a task's job waits; None: it does not any more."""
        for slot in self._devices_of.get(task, ()):
            if why is not None:
                self._told.add(slot)
                yield DeviceState(slot, False, why)
            elif slot in self._told:
                self._told.discard(slot)
                yield DeviceState(slot, False, "its job runs")

    def _not_taken(self, task: str, why: str) -> Iterator[ExecutorEvent]:
        """The cluster takes no job now: wait, with one slot that says why."""
        self._pause = min(LONGEST_PAUSE, 2 * self._pause or FIRST_PAUSE)
        self._ask_again = time.monotonic() + self._pause
        yield from self._show(task, f"{self.engine} takes no job now: {why}")
        slots = self._forget(task)
        yield base.Refused(task, Refusal.DEVICE_HELD)
        yield from (DeviceBusy(slot) for slot in {*self._free(), *slots})

    def _over(
        self, event: base.Ended | base.Lost | base.Refused | base.Failed
    ) -> Iterator[ExecutorEvent]:
        """Tell a task's last event, then offer its slot, unless it is its next attempt's by now."""
        slots = self._forget(event.task)
        yield event
        for slot in slots:
            if slot not in self._devices_of.get(event.task, ()):
                yield from self._offer(slot)

    def _forget(self, task: str) -> tuple[str, ...]:
        """Let go of a task's slots, and return them."""
        return self._devices_of.pop(task)

    def _free(self) -> list[str]:
        taken = {slot for slots in self._devices_of.values() for slot in slots}
        return [slot.id for slot in self._slots if slot.id not in taken]

    def _offer_all(self) -> Iterator[ExecutorEvent]:
        for slot in self._free():
            yield from self._offer(slot)

    def _offer(self, slot: str) -> Iterator[ExecutorEvent]:
        if self._pause and self._ask_again is None:
            # What was to show whether it takes jobs again has come to nothing.
            self._ask_again = time.monotonic() + self._pause
        if not self._offering or self._pause or slot not in self._free():
            return
        if slot in self._told:
            self._told.discard(slot)
            yield DeviceState(slot, True, "free")
        yield DeviceIdle(slot)


def environment_of_workers(
    sweep: Sweep,
    environment: Mapping[str, str],
    of_engine: tuple[str, ...],
    threads: int | None,
    copy: CodeCopy | None,
) -> tuple[Callable[[Sequence[Device]], dict[str, str]], Path]:
    """Return what tells the environment of a worker on certain slots, and the folder that workers run in.

    Args:
        sweep: for the environment that it gives workers.
        environment: what they inherit,
        of_engine: but for variables that begin with these words.
        threads: how many each attempt is told to compute with; None: it is not told.
        copy: the copy of the code that they run from; None: from the current folder.
    """
    own = sweep.own_environment(environment)
    inherited = {n: v for n, v in environment.items() if not n.startswith(of_engine)}
    if copy is not None:
        own, inherited = copy.environment(own), copy.environment(inherited)
    told = partial(worker_environment, threads=threads, own=own, inherited=inherited)
    return told, copy.folder if copy is not None else Path.cwd()


def require_folders(request: StartRequest) -> None:
    """Make sure of the folders that an attempt's files are to be in: a job could tell of that only later.

    Raises:
        FileNotFoundError: one is not there.
    """
    for path in (request.log_file, request.attempts_file):
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))


def does_for(begun: StartLine, request: StartRequest) -> bool:
    """Say whether an attempt in the queue is the one that is asked for, its name and slot apart."""
    return all(getattr(begun, name) == getattr(request.start, name) for name in _SAME)
