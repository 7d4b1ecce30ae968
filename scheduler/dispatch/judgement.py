"""Judging an attempt by its files, and the checkpoint that records the outcome."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from scheduler.config.sweep import Sweep, Task
from scheduler.core.retry import JudgedAttempt
from scheduler.core.verdict import DISK_ERRNOS, Exit, Kind, Verdict, judge
from scheduler.dispatch.clock import Clock
from scheduler.storage.atomic import append_line, why_not_writable
from scheduler.storage.attempts_file import (
    AttemptRecord,
    attempts_for_people,
    latest,
    read_attempts,
)
from scheduler.storage.logs import LogFacts, last_summary, read_log
from scheduler.storage.paths import SweepPaths

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

# What an attempt is worth that was begun for another version of the sweep file.
OTHER_SWEEP = "the sweep file asks for something else now"

# How a worker ends that could not even write down that the disk of its log is full.
_MAYBE_DISK_FULL = frozenset({Kind.FAILED, Kind.NO_SUCCESS_LINE, Kind.SIGNALLED})


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with all that proves it."""

    verdict: Verdict
    attempts: list[AttemptRecord]  # the judged one is the last
    log: LogFacts | None
    summary: Mapping[str, Any]
    ended: float  # time of day

    @property
    def seconds(self) -> float:
        """How long the attempt took."""
        started = self.attempts[-1].started.get("started") if self.attempts else None
        return max(0.0, self.ended - started) if isinstance(started, int | float) else 0.0


def attempts_of(
    task: str, paths: SweepPaths, known: AttemptRecord | None = None
) -> list[AttemptRecord]:
    """Return a task's attempts up to the known one, completed by what is known of it.

    The file may have been removed, or have had no room for a line. Nor is the known one always the
    file's last: the last order of a dispatcher that died may have begun the next one.
    """
    attempts = read_attempts(paths.attempts(task)).attempts
    if known is None:
        return attempts
    found = latest(attempts, known.started["attempt"])
    if found is None:
        return [*attempts, known]
    found.ended, found.stop = found.ended or known.ended, found.stop or known.stop
    found.foreign = found.foreign or known.foreign
    return attempts[: attempts.index(found) + 1]


def judge_attempt(
    task: Task,
    paths: SweepPaths,
    sweep: Sweep,
    known: AttemptRecord | None = None,
) -> Judgement:
    """Read the end of a task's last attempt and its log, and judge it; record the verdict of a failure.

    Args:
        known: what the dispatcher knows of the attempt, should its file have been removed.
    """
    attempts = attempts_of(task.id, paths, known)
    scan, facts = read_log(paths.log(task.id), sweep.rules)
    last = attempts[-1] if attempts else AttemptRecord({"attempt": 0, "device": "?"})
    ended, digest = last.ended or {}, sweep.digest(task)
    verdict = _not_started(ended)
    if last.verdict is not None:  # judged before, by a dispatcher that died
        verdict = read_verdict(last.verdict.get("verdict"), last.verdict.get("cause"))
    elif last.started.get("digest", digest) != digest:
        verdict = Verdict(Kind.STOPPED, OTHER_SWEEP)
    elif verdict is None:
        stop = read_verdict(last.stop.get("stop"), last.stop.get("cause")) if last.stop else None
        if stop is None and ended.get("stopped"):
            stop = Verdict(Kind.STOPPED, "its supervisor was told to stop")
        exit_ = Exit(
            _int(ended.get("code")), _int(ended.get("signal")), bool(ended.get("oom_killed"))
        )
        verdict = judge(exit_, scan, stop)
        if verdict.kind in _MAYBE_DISK_FULL:
            trouble = why_not_writable(paths.logs)
            if trouble is not None and trouble.errno in DISK_ERRNOS:
                verdict = Verdict(
                    Kind.DISK_FULL, f"{verdict.cause}; {paths.logs}: {trouble.strerror}"
                )
        if facts is None and verdict.kind is Kind.NO_SUCCESS_LINE:
            verdict = Verdict(Kind.LOST, "exit code 0, but its log, which had to prove it, is gone")
    if not verdict.completed and last.verdict is None:
        # If there is no room for this line, a next dispatcher judges the same files again.
        last.verdict = {
            "attempt": last.started["attempt"],
            "verdict": verdict.kind.value,
            "cause": verdict.cause,
        }
        with suppress(OSError):
            append_line(paths.attempts(task.id), last.verdict)
    at = ended.get("ended")
    summary = last_summary(paths.results(task.id)) if verdict.completed else {}
    return Judgement(
        verdict, attempts, facts, summary, float(at) if isinstance(at, int | float) else time.time()
    )


def _not_started(ended: Mapping[str, Any]) -> Verdict | None:
    if "not_started" not in ended:
        return None
    cause = str(ended["not_started"])
    if ended.get("errno") in WRONG_PROGRAM:
        return Verdict(Kind.WRONG_CODE, cause)
    return Verdict(Kind.NOT_STARTED, cause)


def checkpoint_content(
    task: Task, sweep: Sweep, paths: SweepPaths, judgement: Judgement, why: str
) -> dict[str, Any]:
    """Return what the task's ``.done`` or ``.failed`` says; ``why`` is its cause in words."""
    last = judgement.attempts[-1] if judgement.attempts else AttemptRecord({})
    log = judgement.log
    content: dict[str, Any] = dict(judgement.summary)
    content |= {
        "task": task.id,
        "matrix": sweep.matrix(task),
        "digest": last.started.get("digest", sweep.digest(task)),
        "verdict": judgement.verdict.kind.value,
        "cause": why,
        "device": last.started.get("device"),
        "device_name": last.started.get("device_name"),
        "started": _iso(last.started.get("started")),
        "ended": _iso(judgement.ended),
        "seconds": round(judgement.seconds, 3),
        "exit_code": (last.ended or {}).get("code"),
        "attempts": attempts_for_people(judgement.attempts),
        "log": {
            "path": str(paths.log(task.id)),
            "sha256": log.sha256,
            "size": log.size,
            "mtime_ns": log.mtime_ns,
        }
        if log
        else None,
        "results": str(paths.results(task.id)) if paths.results(task.id).exists() else None,
    }
    return content


def read_verdict(kind: object, cause: object) -> Verdict:
    """Return the verdict that a file records; one that no longer exists counts as a plain failure."""
    try:
        return Verdict(Kind(kind), str(cause))
    except ValueError:
        return Verdict(Kind.FAILED, str(cause))


def past_attempt(record: AttemptRecord, verdict: Verdict, clock: Clock) -> JudgedAttempt:
    """Return a judged attempt as the retry policy needs it."""
    ended = (record.ended or {}).get("ended", record.started.get("started"))
    return JudgedAttempt(
        verdict,
        record.started["device"],
        clock.monotonic(ended),
        free_memory=_int(record.started.get("free_memory")),
        foreign=record.foreign is not None,
        halvings=_int(record.started.get("halvings")) or 0,
    )


def forget_attempts(task: str, paths: SweepPaths) -> None:
    """Remove the attempts file of a task that has ended; call it when the checkpoint is durable."""
    with suppress(OSError):
        paths.attempts(task).unlink()


def _iso(at: object) -> str | None:
    try:
        return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):  # a damaged line: no time, or none near
        return None


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None
