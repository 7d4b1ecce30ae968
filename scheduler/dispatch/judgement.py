"""Judging an attempt by its files, and the checkpoint that records the outcome."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scheduler.config.sweep import Rules, Sweep, Task
from scheduler.config.units import format_size
from scheduler.core.retry import JudgedAttempt
from scheduler.core.verdict import (
    DISK_ERRNOS,
    MAYBE_DISK_FULL,
    SWEEP_CHANGED,
    Evidence,
    Exit,
    Kind,
    NotStarted,
    Verdict,
    decide,
)
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.settings_files import SettingsFiles
from scheduler.storage.atomic import append_line, why_not_writable, write_durably
from scheduler.storage.attempts_file import (
    AttemptRecord,
    EndLine,
    StartLine,
    VerdictLine,
    devices_as_json,
    latest,
    read_attempts,
)
from scheduler.storage.checkpoints import logs_by_task, why_not_there
from scheduler.storage.logs import LogFacts, breaks_off, last_summary, read_log
from scheduler.storage.paths import SweepPaths, room_of
from scheduler.storage.regular_files import aside_name

# No such program, not a program, not allowed, a command line too long: the same the next time.
WRONG_PROGRAM = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENOEXEC,
        errno.EACCES,
        errno.E2BIG,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    }
)


# Bytes of a task's files that may have filled a disk; of a small disk a tenth will do.
MUCH_ROOM = 1 << 24


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with all that proves it."""

    verdict: Verdict
    # The judged one is the last.
    attempts: list[AttemptRecord]
    log: LogFacts | None
    summary: Mapping[str, Any]
    # Time of day in seconds.
    ended: float

    @property
    def seconds(self) -> float:
        """How long the attempt took, with the one that did the timed stage before it."""
        stages = (attempt for attempt in self.attempts[:-1] if _did_a_stage(attempt))
        before = (_took(stage, stage.ended.ended) for stage in stages if stage.ended is not None)
        return sum(before) + self.own_seconds

    @property
    def own_seconds(self) -> float:
        """How long the attempt took alone."""
        return _took(self.attempts[-1], self.ended) if self.attempts else 0.0


def _took(attempt: AttemptRecord, ended: float | None) -> float:
    began = attempt.started.started
    return 0.0 if began is None or ended is None else max(0.0, ended - began)


def _did_a_stage(attempt: AttemptRecord) -> bool:
    return attempt.verdict is not None and attempt.verdict.verdict.kind is Kind.STAGE_DONE


def attempts_of(
    task: str, paths: SweepPaths, known: AttemptRecord | None = None
) -> list[AttemptRecord]:
    """Return a task's attempts up to the known one, completed by what is known of it.

    The file may have been removed, or have had no room for a line. Nor is the known one always the
    file's last: the last order of a dispatcher that died may have begun the next one.
    """
    attempts = read_attempts(paths.attempts(task))
    if known is None:
        return attempts
    found = latest(attempts, known.started.attempt)
    if found is None:
        return [*attempts, known]
    found.ended, found.stop = found.ended or known.ended, found.stop or known.stop
    found.foreign, found.least_free = found.foreign or known.foreign, known.least_free
    found.taken, found.crowded = known.taken, known.crowded
    return attempts[: attempts.index(found) + 1]


def judge_attempt(
    task: Task,
    paths: SweepPaths,
    sweep: Sweep,
    known: AttemptRecord | None = None,
    stopped: Callable[[], bool] = lambda: False,
    full_at: float = 0.0,
) -> Judgement:
    """Read the end of a task's last attempt and its log, and judge it; record the verdict of a failure.

    One that was completed for another sweep file than today's gets a checkpoint that is set aside.

    Args:
        task: whose attempt.
        paths: where its files are.
        sweep: what is asked for today.
        known: what the dispatcher knows of the attempt, should its file have been removed.
        stopped: asked again and again while its log is read whether to leave.
        full_at: when files were last seen to find no room (time of day).

    Raises:
        ReadingStopped: it was.
    """
    attempts = attempts_of(task.id, paths, known)
    last = attempts[-1] if attempts else None
    outdated = _why_outdated(task, sweep, last)
    of_today = outdated is None
    rules = sweep.rules
    if last is not None and not of_today:
        rules = SettingsFiles(sweep, paths).rules(last.started.settings)
    scan, facts = read_log(paths.log(task.id), rules, stopped)
    evidence = Evidence(
        _end(last),
        scan,
        has_log=facts is not None,
        of_today=of_today,
        outdated=outdated or SWEEP_CHANGED,
        stop=_stop(last),
        earlier=last.verdict.verdict if last is not None and last.verdict is not None else None,
        least_free=_least_free(last),
    )
    verdict = decide(evidence)
    if verdict.kind in MAYBE_DISK_FULL and evidence.earlier is None:
        trouble = _disk_trouble(paths) or _was_full(last, paths.log(task.id), full_at)
        evidence = replace(evidence, disk_trouble=trouble)
        verdict = decide(evidence)
    if verdict.kind is Kind.DISK_FULL and evidence.earlier is None:
        verdict = decide(replace(evidence, took_room=_took_room(task.id, paths)))
    ended = last.ended.ended if last is not None and last.ended is not None else None
    at = time.time() if ended is None else ended
    if not of_today and evidence.earlier is None:
        then = decide(replace(evidence, of_today=True))
        if then.completed:
            summary = last_summary(paths.results(task.id))
            judgement = Judgement(then, _of_one_digest(attempts), facts, summary, at)
            verdict = _keep_for_later(task, sweep, paths, judgement, verdict)
    if not verdict.completed and last is not None and last.verdict is None:
        # If there is no room for this line, a next dispatcher judges the same files again.
        last.verdict = VerdictLine(
            verdict,
            last.started.attempt,
            sweep.settings_digest,
            last.least_free,
            last.taken,
            last.crowded,
        )
        with suppress(OSError):
            append_line(paths.attempts(task.id), last.verdict.as_json())
    summary = last_summary(paths.results(task.id)) if verdict.completed else {}
    return Judgement(verdict, attempts, facts, summary, at)


def judge_again(record: AttemptRecord, log: Path, rules: Rules) -> Verdict | None:
    """Return what an attempt's end and its log come to by other rules; None: its log is gone."""
    scan, facts = read_log(log, rules)
    if facts is None:
        return None
    return decide(Evidence(_end(record), scan, stop=_stop(record), least_free=_least_free(record)))


def attempts_in(checkpoint: Mapping[str, Any]) -> list[AttemptRecord]:
    """Return the attempts that a ``.done`` or ``.failed`` says."""
    listed = checkpoint.get("attempts")
    records = [
        record
        for line in (listed if isinstance(listed, list) else ())
        if isinstance(line, dict) and (record := AttemptRecord.parse(line)) is not None
    ]
    digest = checkpoint.get("digest")
    for record in records:
        record.started = replace(record.started, digest=digest if isinstance(digest, str) else None)
    return records


def _of_one_digest(attempts: list[AttemptRecord]) -> list[AttemptRecord]:
    digest = attempts[-1].started.digest
    return [attempt for attempt in attempts if attempt.started.digest == digest]


def _keep_for_later(
    task: Task, sweep: Sweep, paths: SweepPaths, judgement: Judgement, verdict: Verdict
) -> Verdict:
    """Write what was completed for another sweep file as if set aside; return the verdict, saying so."""
    path = aside_name(paths.done(task.id))
    content = checkpoint_content(task, sweep, paths, judgement, judgement.verdict.cause)
    try:
        write_durably(path, content)
    except OSError:  # no room: it is lost, as it was to be
        return verdict
    return replace(verdict, cause=f"{verdict.cause}; what it completed is kept as {path.name}")


def _end(attempt: AttemptRecord | None) -> Exit | NotStarted:
    end = attempt.ended if attempt is not None and attempt.ended is not None else EndLine()
    if end.not_started is not None:
        return NotStarted(end.not_started, wrong_program=end.errno in WRONG_PROGRAM)
    return Exit(end.code, end.signal, end.oom_killed)


def _stop(attempt: AttemptRecord | None) -> Verdict | None:
    if attempt is not None and attempt.stop is not None:
        return attempt.stop.verdict
    if attempt is not None and attempt.ended is not None and attempt.ended.out_of_time:
        return Verdict(Kind.TIMEOUT, "the time that its job had was over (executor.time)")
    if attempt is not None and attempt.ended is not None and attempt.ended.stopped:
        return Verdict(Kind.STOPPED, "its supervisor was told to stop")
    return None


def _why_outdated(task: Task, sweep: Sweep, attempt: AttemptRecord | None) -> str | None:
    """Return why an attempt is not what the sweep asks for today, or None if it is."""
    if attempt is None:
        return None
    if attempt.started.digest not in (None, sweep.digest(task)):
        return SWEEP_CHANGED
    return why_not_there(attempt.started.device, sweep.runs_on)


def _least_free(attempt: AttemptRecord | None) -> int | None:
    if attempt is None:
        return None
    recorded = attempt.verdict.least_free if attempt.verdict is not None else None
    known = (attempt.started.free_memory, attempt.least_free, recorded)
    return min((free for free in known if free is not None), default=None)


def _disk_trouble(paths: SweepPaths) -> str | None:
    """Return why the disk of logs or of results takes nothing more, or None if both do."""
    for folder in (paths.logs, paths.checkpoints):
        trouble = why_not_writable(folder)
        if trouble is not None and trouble.errno in DISK_ERRNOS:
            return f"{folder}: {trouble.strerror}"
    return None


def _was_full(attempt: AttemptRecord | None, log: Path, full_at: float) -> str | None:
    """Say so if the disk was full while an attempt ran, and its log is empty or breaks off."""
    started = attempt.started.started if attempt is not None else None
    if started is None or full_at < started or not breaks_off(log):
        return None
    return "its log breaks off, and the disk was full while it ran"


def _took_room(task: str, paths: SweepPaths) -> str | None:
    """Say which of a task's files took the room of a full disk; None: others did, as far as can be told."""
    own = {path: room_of(path) for path in logs_by_task(paths.logs).get(task, ())}
    own[paths.results(task)] = room_of(paths.results(task))
    disk = os.statvfs(paths.logs)
    much = min(MUCH_ROOM, disk.f_blocks * disk.f_frsize // 10)
    if sum(own.values()) < max(much, paths.largest_file()[1] // 2):
        return None
    path, room = max(own.items(), key=lambda item: item[1])
    return f"its own {path.name} took the room: {format_size(room)}"


def checkpoint_content(
    task: Task,
    sweep: Sweep,
    paths: SweepPaths,
    judgement: Judgement,
    why: str,
    *,
    by_hand: bool = False,
) -> dict[str, Any]:
    """Return what the task's ``.done`` or ``.failed`` says.

    Args:
        task: of which it is.
        sweep: as it is today.
        paths: of its files.
        judgement: of its last attempt.
        why: its cause in words.
        by_hand: somebody fails the task: as it is today, whatever its last attempt was made for.
    """
    last = judgement.attempts[-1] if judgement.attempts else None
    begun = last.started if last is not None else None
    log = judgement.log
    content: dict[str, Any] = dict(judgement.summary)
    content |= {
        "task": task.id,
        "matrix": sweep.matrix(task),
        "digest": (not by_hand and begun and begun.digest) or sweep.digest(task),
        "settings": _settings(None if by_hand else begun, task, sweep),
        "verdict": judgement.verdict.kind.value,
        "cause": why,
        **devices_as_json(begun.devices if begun else ()),
        "device_name": begun and begun.device_name,
        "cores": begun and begun.cores,
        "started": begun and _iso(begun.started),
        "ended": _iso(judgement.ended),
        "seconds": round(judgement.seconds, 3),
        "exit_code": last and last.ended and last.ended.code,
        "source": begun and begun.source,
        "attempts": [attempt.for_people() for attempt in judgement.attempts],
        "log": {"path": str(paths.log(task.id)), **log.as_json()} if log is not None else None,
        "results": str(paths.results(task.id)) if paths.results(task.id).is_file() else None,
    }
    return content


def _settings(begun: StartLine | None, task: Task, sweep: Sweep) -> str | None:
    """Return the digest of the settings that an attempt was made for and judged by."""
    if begun is None or begun.digest in (None, sweep.digest(task)):
        return sweep.settings_digest
    return begun.settings


def past_attempt(record: AttemptRecord, verdict: Verdict, clock: Clock) -> JudgedAttempt:
    """Return a judged attempt as the retry policy needs it."""
    started = record.started
    ended = started.started if record.ended is None else record.ended.ended
    return JudgedAttempt(
        verdict,
        started.devices,
        clock.monotonic(ended),
        free_memory=started.free_memory,
        foreign=record.foreign is not None,
        halvings=started.halvings,
        asked=started.share,
        taken=record.taken if record.verdict is None else record.verdict.taken,
        crowded=record.crowded if record.verdict is None else record.verdict.crowded,
    )


def forget_attempts(task: str, paths: SweepPaths) -> None:
    """Remove the attempts file of a task that has ended; call it when the checkpoint is durable."""
    with suppress(OSError):
        paths.attempts(task).unlink()


def _iso(at: float | None) -> str | None:
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # of a damaged line: a time that is none near
        return None
