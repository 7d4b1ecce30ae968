"""The attempts under way, each with what its file should say: that may be removed, or have no room."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from scheduler.core.verdict import Verdict
from scheduler.dispatch.judgement import attempts_of
from scheduler.executors.base import Started, StartRequest
from scheduler.storage.atomic import append_line
from scheduler.storage.attempts_file import AttemptRecord, EndLine, ForeignLine, StopLine
from scheduler.storage.paths import SweepPaths


@dataclass(slots=True)
class RunningAttempt:
    """An attempt under way, as the dispatcher sees it."""

    task: str
    number: int
    devices: tuple[str, ...]
    # As its file should have it, should that be removed.
    record: AttemptRecord
    # Its file says that it began.
    begun: bool


class RunningAttempts:
    """The attempts that run, by task, and those of which the executor makes sure that they are over."""

    def __init__(self, paths: SweepPaths) -> None:
        self._paths = paths
        self._running: dict[str, RunningAttempt] = {}
        # With their devices; None: nothing is known of them.
        self._vanishing: dict[str, tuple[tuple[str, ...], AttemptRecord | None]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def tasks(self) -> Iterable[str]:
        """Return the tasks of attempts that run."""
        return self._running.keys()

    def get(self, task: str) -> RunningAttempt | None:
        """Return a task's attempt that runs."""
        return self._running.get(task)

    def on(self, device: str) -> list[RunningAttempt]:
        """Return the attempts that run on a device."""
        return [a for a in self._running.values() if device in a.devices]

    def last_on_file(self, task: str, known: AttemptRecord | None = None) -> AttemptRecord | None:
        """Return a task's last attempt up to the known one, completed by what is known of it."""
        return next(reversed(attempts_of(task, self._paths, known)), None)

    # --- how they come and go ------------------------------------------------------------------

    def request(self, request: StartRequest) -> None:
        """An attempt is asked for; it has not begun yet."""
        number, record = request.start.attempt, AttemptRecord(request.start)
        self._running[request.task] = RunningAttempt(
            request.task, number, request.devices, record, begun=False
        )

    def adopt(self, task: str, devices: tuple[str, ...], record: AttemptRecord) -> RunningAttempt:
        """An attempt that another dispatcher began runs on."""
        attempt = RunningAttempt(task, record.started.attempt, devices, record, begun=True)
        self._running[task] = attempt
        return attempt

    def vanish(self, task: str, devices: tuple[str, ...], known: AttemptRecord | None) -> None:
        """An attempt that another dispatcher began does not run any more; `end` follows."""
        self._vanishing[task] = (devices, known)

    def begin(self, told: Started) -> RunningAttempt:
        """An attempt that was asked for has begun: its file is ours to add to."""
        attempt = self._running[told.task]
        begun = attempt.record.started
        attempt.record.started = replace(
            begun, started=told.at, cores=told.cores or begun.cores, launch=told.launch
        )
        attempt.begun = True
        for line in (attempt.record.foreign, attempt.record.stop):
            if line is not None:
                self._add_line(attempt, line)
        return attempt

    def withdraw(self, task: str) -> RunningAttempt:
        """An attempt that was asked for was not begun; return what it would have been."""
        return self._running.pop(task)

    def end(self, task: str, end: EndLine | None) -> tuple[tuple[str, ...], AttemptRecord | None]:
        """An attempt is over; return its devices, and its record if there is one that was not judged.

        Args:
            task: its task.
            end: how it ended; None: nobody saw it.
        """
        attempt = self._running.pop(task, None)
        if attempt is None:
            devices, record = self._vanishing.pop(task)
        else:
            devices = attempt.devices
            record = attempt.record if attempt.begun or end is not None else None
        if record is None:  # whether it ever began, only its file can tell
            record = self.last_on_file(task)
        elif end is not None:
            record.ended = end
        return devices, record if record is not None and record.verdict is None else None

    # --- what is to be known of them should this process die -----------------------------------

    def stop(self, attempt: RunningAttempt, verdict: Verdict) -> None:
        """Record why an attempt is about to be stopped."""
        attempt.record.stop = StopLine(verdict)
        self._add_line(attempt, attempt.record.stop)

    def others_came(self, attempt: RunningAttempt, line: ForeignLine) -> None:
        """Record that others came to a device of an attempt."""
        attempt.record.foreign = line
        self._add_line(attempt, line)

    def _add_line(self, attempt: RunningAttempt, line: StopLine | ForeignLine) -> None:
        """Add to an attempt's file, once it has begun: before, the change would look like another's."""
        if attempt.begun:
            with contextlib.suppress(OSError):  # no room: this process at least knows
                append_line(self._paths.attempts(attempt.task), line.as_json())
