"""What the files say when a dispatcher starts: completed, failed, running or ended unseen, waiting.

`recover` only reads. `set_right` does what follows from it before a run: checkpoints that do not hold are
proved again or set aside, and what an ended task no longer needs is removed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from scheduler.config.sweep import Sweep, Task
from scheduler.core.core import InitialTask
from scheduler.core.journal_events import TaskCompleted
from scheduler.core.retry import JudgedAttempt
from scheduler.core.states import State
from scheduler.core.verdict import SWEEP_CHANGED, Exit, Kind, Verdict, judge
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.judgement import forget_attempts, past_attempt
from scheduler.storage.atomic import Draft, sync_folder
from scheduler.storage.attempts_file import AttemptRecord, is_locked, read_attempts
from scheduler.storage.checkpoints import folder_entries, why_not_done
from scheduler.storage.journal import JournalReader
from scheduler.storage.json_files import read_object
from scheduler.storage.logs import read_log
from scheduler.storage.parallel import fork_map
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import set_aside


@dataclass(frozen=True, slots=True)
class Rejected:
    """A checkpoint that does not hold, and why."""

    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """Its ``.done`` holds."""

    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """Its ``.failed`` holds."""

    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """Its last attempt runs, or ended and was not judged."""

    attempt: AttemptRecord
    history: tuple[JudgedAttempt, ...] = ()
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """It was not tried yet, or its attempts so far have failed."""

    history: tuple[JudgedAttempt, ...] = ()
    rejected: tuple[Rejected, ...] = ()


Standing = Done | Failed | Running | Waiting
# One for all of them: a sweep that is resumed may have a hundred thousand.
HOLDS = Done()


@dataclass(frozen=True, slots=True)
class SweepFiles:
    """The files that a sweep has, by task, and the completions that are in doubt."""

    paths: SweepPaths
    done: Mapping[str, os.DirEntry[str]]
    failed: Mapping[str, os.DirEntry[str]]
    attempts: Mapping[str, os.DirEntry[str]]
    # Why a task's `.done` does not hold; tasks whose does are not in it.
    doubts: Mapping[str, str]

    @classmethod
    def of(cls, sweep: Sweep, paths: SweepPaths) -> SweepFiles:
        """Look at the files of a sweep."""
        done = folder_entries(paths.checkpoints, ".done")
        logs = folder_entries(paths.logs, ".log")
        doubts = fork_map(
            partial(_doubts, sweep, done, logs), [task for task in sweep.tasks if task.id in done]
        )
        return cls(
            paths,
            done,
            folder_entries(paths.checkpoints, ".failed"),
            folder_entries(paths.checkpoints, ".attempts"),
            doubts,
        )


@dataclass(slots=True)
class Recovered:
    """The state of a sweep's files."""

    # In the sweep's order.
    standings: dict[str, Standing]
    # Of tasks that have ended, but whose attempts are still on file.
    leftovers: frozenset[str] = frozenset()
    # Attempts that run for tasks no longer in the sweep.
    unlisted: list[str] = field(default_factory=list)

    @property
    def rejected(self) -> list[tuple[str, Rejected]]:
        """Return the checkpoints that do not hold, by task."""
        found = ((task, standing.rejected) for task, standing in self.standings.items())
        return [(task, one) for task, rejected in found if rejected for one in rejected]

    @property
    def unrecorded(self) -> list[str]:
        """Return completed tasks whose dispatcher died before the journal had their end."""
        return [t for t, s in self.standings.items() if isinstance(s, Done) and t in self.leftovers]

    @property
    def open_attempts(self) -> dict[str, AttemptRecord]:
        """Return the attempts that run, or ended and were not judged, by task."""
        return {t: s.attempt for t, s in self.standings.items() if isinstance(s, Running)}

    def initial_tasks(self, clock: Clock) -> list[InitialTask]:
        """Return what the core begins with."""
        return [_initial_task(task, standing, clock) for task, standing in self.standings.items()]


def recover(sweep: Sweep, paths: SweepPaths, clock: Clock) -> Recovered:
    """Read the files of a sweep; changes nothing."""
    files = SweepFiles.of(sweep, paths)
    standings = {task.id: classify(task, sweep, files, clock) for task in sweep.tasks}
    ended = (t for t, s in standings.items() if isinstance(s, Done | Failed))
    unlisted = (task for task in files.attempts if task not in standings)
    return Recovered(
        standings,
        frozenset(task for task in ended if task in files.attempts),
        [task for task in unlisted if is_locked(paths.attempts(task))],
    )


def classify(task: Task, sweep: Sweep, files: SweepFiles, clock: Clock) -> Standing:
    """Return where a task stands by its files."""
    rejected: tuple[Rejected, ...] = ()
    if task.id in files.done:
        if (why := files.doubts.get(task.id)) is None:
            return HOLDS
        rejected = (Rejected(files.paths.done(task.id), why),)
    digest = sweep.digest(task)
    if task.id in files.failed:
        path = files.paths.failed(task.id)
        content = read_object(path)
        if content is not None and content.get("digest") == digest:
            return Failed(rejected)
        why = "it is damaged" if content is None else SWEEP_CHANGED
        rejected = (*rejected, Rejected(path, why))
    attempts = read_attempts(files.paths.attempts(task.id)) if task.id in files.attempts else []
    if task.id in files.attempts and not files.attempts[task.id].is_file(follow_symlinks=False):
        path = files.paths.attempts(task.id)
        rejected = (*rejected, Rejected(path, "what is there is not a regular file"))
    is_open = bool(attempts) and attempts[-1].verdict is None
    judged = attempts[:-1] if is_open else attempts
    history = tuple(_past(attempt, clock) for attempt in judged if attempt.started.digest == digest)
    return Running(attempts[-1], history, rejected) if is_open else Waiting(history, rejected)


def set_right(found: Recovered, sweep: Sweep, paths: SweepPaths) -> Recovered:
    """Prove again or set aside the checkpoints that do not hold; return the state after that."""
    completions = _Completions(sweep, paths)
    standings = dict(found.standings)
    leftovers = set(found.leftovers)
    for task in (task for task in sweep.tasks if standings[task.id].rejected):
        standing = standings[task.id]
        if completions.prove_again(task, standing):
            standings[task.id] = HOLDS
            if paths.attempts(task.id).exists():
                leftovers.add(task.id)
        else:
            kept = (Rejected(set_aside(r.path), r.why) for r in standing.rejected)
            standings[task.id] = replace(standing, rejected=tuple(kept))
    for task_id in found.leftovers:
        if isinstance(standings[task_id], Failed):
            forget_attempts(task_id, paths)
            leftovers.discard(task_id)
    return Recovered(standings, frozenset(leftovers), found.unlisted)


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
    def _recorded(self) -> dict[str, TaskCompleted]:
        events = (entry.event for entry in JournalReader(self._paths.journal))
        return {event.task: event for event in events if isinstance(event, TaskCompleted)}

    def prove_again(self, task: Task, standing: Standing) -> bool:
        """Write the task's ``.done`` anew if the record of its end and its log prove it; say whether.

        Neither a changed sweep nor a changed log is proved by this.
        """
        path = self._paths.done(task.id)
        if all(rejected.path != path for rejected in standing.rejected):
            return False
        recorded, digest = self._recorded.get(task.id), self._sweep.digest(task)
        if recorded is None or recorded.digest != digest:
            return False
        scan, facts = read_log(self._paths.log(task.id), self._sweep.rules)
        if facts is None or facts.sha256 != recorded.log_sha256:
            return False
        if not judge(Exit(code=0), scan).completed:
            return False
        content = {
            **recorded.summary,
            "task": task.id,
            "matrix": self._sweep.matrix(task),
            "digest": digest,
            "verdict": Kind.COMPLETED.value,
            "cause": "proved again by the journal and the log, since the checkpoint was damaged",
            "device": recorded.device,
            "seconds": recorded.seconds,
            "exit_code": 0,
            "attempts": [],
            "log": {"path": str(self._paths.log(task.id)), **asdict(facts)},
        }
        draft = Draft(path, content)
        draft.sync()
        draft.publish()
        sync_folder(self._paths.checkpoints)
        return True


def _initial_task(task: str, standing: Standing, clock: Clock) -> InitialTask:
    match standing:
        case Done():
            return InitialTask(task, State.DONE)
        case Failed():
            return InitialTask(task, State.FAILED)
        case Waiting():
            return InitialTask(task, State.WAITING, standing.history)
        case Running():
            begun = standing.attempt.started
            return InitialTask(
                task,
                State.RUNNING,
                standing.history,
                device=begun.device,
                started=clock.started(begun),
                halvings=begun.halvings,
            )


def _past(record: AttemptRecord, clock: Clock) -> JudgedAttempt:
    # A verdict for which there was no room counts as a plain failure: attempts must not go uncounted.
    unrecorded = Verdict(Kind.FAILED, "its verdict could not be recorded")
    return past_attempt(record, record.verdict.verdict if record.verdict else unrecorded, clock)
