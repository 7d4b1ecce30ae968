"""From the end of an attempt to its durable checkpoint: the dispatcher's side of what the writer does."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from scheduler.config.units import format_size
from scheduler.core import events as ev
from scheduler.core.journal_events import (
    AttemptFailed,
    CheckpointRejected,
    JournalEvent,
    SweepPaused,
    TaskCompleted,
    TaskFailed,
)
from scheduler.core.retry import GiveUpCode, JudgedAttempt
from scheduler.core.texts import give_up_text
from scheduler.core.verdict import DISK_ERRNOS, Kind, Verdict
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.judgement import (
    Judgement,
    checkpoint_content,
    forget_attempts,
    judge_attempt,
    past_attempt,
)
from scheduler.dispatch.wishes.sweep_in_use import SweepInUse
from scheduler.dispatch.writer import Checkpoint, CheckpointWriter, Readers
from scheduler.storage.atomic import why_not_writable
from scheduler.storage.attempts_file import AttemptRecord, devices_in
from scheduler.storage.checkpoints import why_not_done
from scheduler.storage.json_files import as_number, read_object
from scheduler.storage.paths import SweepPaths, size_of
from scheduler.storage.regular_files import set_aside

# Too many open files, too many processes, no memory.
_ERRNOS_OF_NO_FILE = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
_WORTH_NAMING = 1 << 20  # bytes
LONG_LOG = 1 << 18  # bytes; a shorter log is read sooner than it is handed to a thread

Handle = Callable[[ev.Event], None]
Emit = Callable[[JournalEvent], None]


class Outcomes:
    """Has attempts judged by readers, checkpoints written by the writer, and reports to core and journal."""

    def __init__(
        self,
        use: SweepInUse,
        paths: SweepPaths,
        clock: Clock,
        writer: CheckpointWriter,
        readers: Readers,
        handle: Handle,
        emit: Emit,
    ) -> None:
        self._use = use
        self._paths = paths
        self._clock = clock
        self._writer = writer
        self._readers = readers
        self._handle = handle
        self._emit = emit
        self._judgements: dict[str, Judgement] = {}  # by task, until its checkpoint is written
        self._full_at = 0.0  # when files last found no room: time of day
        self._ended: list[str] = []  # tasks with a checkpoint, whose attempts are still on file

    def judge(self, task: str, known: AttemptRecord) -> None:
        """Judge the task's last attempt, or have it judged if its log is long; the core hears of it."""
        self._judge(task, known, partial(self._judged, task))

    def _judge(
        self, task: str, known: AttemptRecord | None, then: Callable[[Judgement], None]
    ) -> None:
        use, sweep = self._use, self._use.of(task)

        def read(stopped: Callable[[], bool]) -> Callable[[], None]:
            judgement = judge_attempt(
                use.tasks[task], self._paths, sweep, known, stopped, self._full_at
            )
            return partial(then, judgement)

        if size_of(self._paths.log(task)) < LONG_LOG:
            read(lambda: False)()
        else:
            self._readers.submit(read)

    def _judged(self, task: str, judgement: Judgement) -> None:
        self._judgements[task] = judgement
        record, verdict = judgement.attempts[-1], judgement.verdict
        if not (verdict.completed or verdict.kind is Kind.STAGE_DONE):
            self._emit(
                AttemptFailed(
                    task,
                    record.started.attempt,
                    record.started.devices,
                    verdict.kind.value,
                    verdict.cause,
                    judgement.own_seconds,
                    foreign=record.foreign is not None,
                )
            )
        if verdict.kind is Kind.DISK_FULL:
            self._full_at = time.time()
        elif verdict.kind is Kind.TOO_MUCH_OUTPUT:
            self.check_disk()  # it may have taken all there was
        attempt = past_attempt(record, verdict, self._clock)
        if record.started.digest != self._use.digest(task):
            attempt = replace(attempt, halvings=0)  # what it needed, today's command may not
        self._handle(ev.AttemptJudged(task, attempt))

    def found_done(self, task: str, devices: tuple[str, ...]) -> None:
        """A task that was to run there has a ``.done``: of another dispatcher, or put back by its user."""
        path = self._paths.done(task)
        done = read_object(path)
        why = why_not_done(done, self._use.digest(task), None, self._use.now.runs_on)
        if done is not None and why is None:
            verdict = Verdict(Kind.COMPLETED, "its checkpoint was there already")
            self.found(task, done)
            past = JudgedAttempt(verdict, devices, time.monotonic())
            self._handle(ev.AttemptJudged(task, past))
        else:
            with contextlib.suppress(FileNotFoundError):
                kept = set_aside(path).name
                self._emit(CheckpointRejected(task, why or "it is damaged", kept))
            self._handle(ev.StartRefused(task))

    def found(self, task: str, done: Mapping[str, Any]) -> None:
        """Record a task whose ``.done`` others have written; nothing is left to be judged or written."""
        self._judgements.pop(task, None)  # of an attempt that failed before
        seconds, attempts = as_number(done.get("seconds")), done.get("attempts")
        digest, log = done.get("digest"), done.get("log")
        sha256, crc32 = (
            log.get(name) if isinstance(log, dict) else None for name in ("sha256", "crc32")
        )
        self._emit(
            TaskCompleted(
                task,
                devices_in(done),
                len(attempts) if isinstance(attempts, list) else 0,
                seconds or 0.0,
                summary=done,
                digest=digest if isinstance(digest, str) else None,
                log_sha256=sha256 if isinstance(sha256, str) else None,
                log_crc32=crc32 if isinstance(crc32, str) else None,
            )
        )
        self._ended.append(task)

    def write(self, action: ev.WriteCheckpoint) -> None:
        """Have a checkpoint written; the core hears of it when it is durable, or could not be written."""
        judgement = self._judgements.get(action.task)
        if judgement is not None:
            self._write(action, judgement)
        elif action.completed:  # it was not judged here but found
            self._handle(ev.CheckpointWritten(action.task))
        else:  # given up for what an earlier dispatcher judged
            self._judge(action.task, None, partial(self._write, action))

    def _write(self, action: ev.WriteCheckpoint, judgement: Judgement) -> None:
        task, paths = self._use.tasks[action.task], self._paths
        by_hand = action.failure is not None and action.failure.code is GiveUpCode.BY_HAND
        if action.failure is not None and not judgement.attempts:  # it was never tried
            kind = Kind.STOPPED if by_hand else Kind.NOT_STARTED
            verdict = Verdict(kind, give_up_text(action.failure))
            judgement = replace(judgement, verdict=verdict)
        self._judgements[task.id] = judgement
        why = judgement.verdict.cause if action.failure is None else give_up_text(action.failure)
        content = partial(
            checkpoint_content, task, self._use.of(task.id), paths, judgement, why, by_hand=by_hand
        )
        self._writer.submit(
            Checkpoint(
                paths.done(task.id) if action.completed else paths.failed(task.id),
                content,
                written=partial(self._written, action, judgement),
                failed=partial(self.files_in_trouble, task=task.id),
            )
        )

    def _written(self, action: ev.WriteCheckpoint, judgement: Judgement) -> None:
        self._judgements.pop(action.task, None)
        devices = judgement.attempts[-1].started.devices if judgement.attempts else ()
        attempts, seconds = len(judgement.attempts), judgement.seconds
        if action.failure is not None:
            why = give_up_text(action.failure)
            self._emit(TaskFailed(action.task, devices, attempts, seconds, why))
        else:
            self._emit(
                TaskCompleted(
                    action.task,
                    devices,
                    attempts,
                    seconds,
                    judgement.summary,
                    # Should the checkpoint ever be damaged, this and the log prove it again.
                    digest=judgement.attempts[-1].started.digest,
                    log_sha256=judgement.log.sha256 if judgement.log else None,
                    log_crc32=judgement.log.crc32 if judgement.log else None,
                )
            )
        self._ended.append(action.task)
        self._handle(ev.CheckpointWritten(action.task))

    def forget_ended(self) -> None:
        """Remove the attempts of tasks that have ended; call it when the journal has their ends.

        Not before: should the checkpoint ever be damaged, either of the two proves it again.
        """
        for task in self._ended:
            forget_attempts(task, self._paths)
        self._ended.clear()

    def files_in_trouble(self, error: OSError, task: str | None = None) -> None:
        """Tell the core that files cannot be written (``task``: its checkpoint could not)."""
        if error.errno in DISK_ERRNOS:
            self._full_at = time.time()
        where = error.filename or self._paths.checkpoints  # a write does not name its file
        why = (
            str(error.strerror)
            if error.errno in _ERRNOS_OF_NO_FILE
            else f"{where}: {error.strerror}"
        )
        self._handle(ev.WriteFailed(why, task))

    def tell_pause(self, why: str) -> None:
        """Record a pause; if it is for want of room, with the file that takes the most of it."""

        def look() -> Callable[[], None]:
            text = why
            if any(os.strerror(number) in why for number in (errno.ENOSPC, errno.EDQUOT)):
                text += _what_takes_room(self._paths)
            return partial(self._emit, SweepPaused(text))

        self._writer.submit(look)

    def check_disk(self) -> None:
        """Try whether files can be written again; the core hears of it."""
        self._writer.submit(self._try_to_write)

    def _try_to_write(self) -> Callable[[], None]:
        try:
            self._paths.make_folders()  # somebody may have removed them
        except OSError as error:
            return partial(self.files_in_trouble, error)
        for folder in (self._paths.checkpoints, self._paths.logs):
            trouble = why_not_writable(folder)
            if trouble is not None:
                return partial(self.files_in_trouble, trouble)
        return partial(self._handle, ev.DiskWritable())


def _what_takes_room(paths: SweepPaths) -> str:
    path, room = paths.largest_file()
    with contextlib.suppress(OSError):
        disk = os.statvfs(paths.logs)
        if disk.f_files and not disk.f_favail:
            return ": there are too many files (no inode is free)"
    if room < _WORTH_NAMING:
        return ""
    return f"; the sweep's largest file is {path} ({format_size(room)})"
