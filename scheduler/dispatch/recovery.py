"""What the files say when a dispatcher starts: completed, failed, running, ended unseen, not begun."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from scheduler.config.sweep import Sweep, Task
from scheduler.core.core import InitialTask, State
from scheduler.core.retry import JudgedAttempt
from scheduler.core.verdict import Exit, Kind, judge
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.judgement import forget_attempts, past_attempt, read_verdict
from scheduler.storage.atomic import Draft, sync_folder
from scheduler.storage.attempts_file import AttemptRecord, AttemptsFile, is_locked, read_attempts
from scheduler.storage.checkpoints import folder_entries, set_aside, why_not_done
from scheduler.storage.journal import read_journal
from scheduler.storage.json_files import read_object
from scheduler.storage.logs import read_log
from scheduler.storage.parallel import share_out
from scheduler.storage.paths import SweepPaths


@dataclass(slots=True)
class Recovered:
    """The state of a sweep's files, ready for the core."""

    tasks: list[InitialTask] = field(default_factory=list)
    open_attempts: dict[str, AttemptRecord] = field(
        default_factory=dict
    )  # running, or ended and not judged
    rejected: list[tuple[str, str, Path]] = field(
        default_factory=list
    )  # (task, why, where it is kept)
    # Completed, and their dispatcher died before it told the journal and forgot their attempts.
    unrecorded: list[str] = field(default_factory=list)
    strangers: list[str] = field(
        default_factory=list
    )  # attempts that run for tasks no longer in the sweep


def recover(sweep: Sweep, paths: SweepPaths, clock: Clock, *, change: bool = True) -> Recovered:
    """Read the files of a sweep.

    Args:
        change: set aside checkpoints that do not hold; False only looks, for views.
    """
    found = Recovered()
    done = folder_entries(paths.checkpoints, ".done")
    failed = folder_entries(paths.checkpoints, ".failed")
    attempts = folder_entries(paths.checkpoints, ".attempts")
    logs = folder_entries(paths.logs, ".log")
    completions = _Completions(sweep, paths)
    doubts = share_out(
        partial(_doubts, sweep, done, logs), [t for t in sweep.tasks if t.id in done]
    )
    for task in sweep.tasks:
        if task.id in done:
            why = doubts.get(task.id)
            if why is not None and change and completions.prove_again(task):
                why = None  # it was damaged
            if why is None:
                found.tasks.append(InitialTask(task.id, State.DONE))
                if task.id in attempts:
                    found.unrecorded.append(task.id)
                continue
            path = paths.done(task.id)
            found.rejected.append((task.id, why, set_aside(path) if change else path))
        digest = sweep.digest(task)
        if task.id in failed:
            content = read_object(paths.failed(task.id))
            if content is not None and content.get("digest") == digest:
                if task.id in attempts and change:
                    forget_attempts(task.id, paths)
                found.tasks.append(InitialTask(task.id, State.FAILED))
                continue
            why = (
                "it is damaged" if content is None else "the sweep file asks for something else now"
            )
            kept = set_aside(paths.failed(task.id)) if change else paths.failed(task.id)
            found.rejected.append((task.id, why, kept))
        file = read_attempts(paths.attempts(task.id)) if task.id in attempts else None
        found.tasks.append(_seed(task, file, digest, clock, found))
    known = {task.id for task in sweep.tasks}
    found.strangers = [
        task for task in attempts if task not in known and is_locked(paths.attempts(task))
    ]
    return found


def _doubts(
    sweep: Sweep,
    done: Mapping[str, os.DirEntry[str]],
    logs: Mapping[str, os.DirEntry[str]],
    tasks: Sequence[Task],
) -> dict[str, str]:
    """Return why checkpoints do not hold, by the tasks of those that do not."""
    checked = (
        (t.id, why_not_done(read_object(done[t.id].path), sweep.digest(t), logs.get(t.id)))
        for t in tasks
    )
    return {task: why for task, why in checked if why is not None}


class _Completions:
    """What the journal recorded of completed tasks, to prove again what a damaged ``.done`` said."""

    def __init__(self, sweep: Sweep, paths: SweepPaths) -> None:
        self._sweep = sweep
        self._paths = paths

    @cached_property
    def _recorded(self) -> dict[object, dict[str, Any]]:
        events = read_journal(self._paths.journal)
        return {e.get("task"): e for e in events if e.get("event") == "completed"}

    def prove_again(self, task: Task) -> bool:
        """Write the task's ``.done`` anew if the record of its end and its log prove it; say whether.

        Neither a changed sweep nor a changed log is proved by this.
        """
        entry, digest = self._recorded.get(task.id), self._sweep.digest(task)
        if entry is None or entry.get("digest") != digest:
            return False
        scan, facts = read_log(self._paths.log(task.id), self._sweep.rules)
        if facts is None or facts.sha256 != entry.get("log_sha256"):
            return False
        if not judge(Exit(code=0), scan).completed:
            return False
        summary = entry.get("summary")
        content = summary if isinstance(summary, dict) else {}
        content = content | {
            "task": task.id,
            "matrix": self._sweep.matrix(task),
            "digest": digest,
            "verdict": Kind.COMPLETED.value,
            "cause": "proved again by the journal and the log, since the checkpoint was damaged",
            "device": entry.get("device"),
            "seconds": entry.get("seconds"),
            "exit_code": 0,
            "attempts": [],
            "log": {"path": str(self._paths.log(task.id)), **asdict(facts)},
        }
        draft = Draft(self._paths.done(task.id), content)
        draft.sync()
        draft.publish()
        sync_folder(self._paths.checkpoints)
        return True


def _seed(
    task: Task, file: AttemptsFile | None, digest: str, clock: Clock, found: Recovered
) -> InitialTask:
    if file is None or not file.attempts:
        return InitialTask(task.id)
    last = file.attempts[-1]
    judged = file.attempts if last.verdict is not None else file.attempts[:-1]
    history = tuple(
        _recorded_attempt(a, clock) for a in judged if a.started.get("digest") == digest
    )
    if last.verdict is not None:
        return InitialTask(task.id, State.WAITING, history)
    found.open_attempts[task.id] = last
    return InitialTask(
        task.id,
        State.RUNNING,
        history,
        device=last.started["device"],
        started=clock.started(last),
        halvings=_number(last.started.get("halvings")) or 0,
    )


def _recorded_attempt(record: AttemptRecord, clock: Clock) -> JudgedAttempt:
    # A verdict for which there was no room counts as a plain failure: attempts must not go uncounted.
    line: Mapping[str, Any] = record.verdict or {"cause": "its verdict could not be recorded"}
    verdict = read_verdict(line.get("verdict"), line.get("cause"))
    return past_attempt(record, verdict, clock)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
