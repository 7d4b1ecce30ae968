"""What the files say when a dispatcher starts: completed, failed, running or ended unseen, waiting.

`recover` only reads; what follows from it before a run is done by repairs.py. A checkpoint that does not hold
stays where it is until its task really starts anew, and one that was set aside counts again as soon as it
holds: so a sweep file that was edited and put back costs nothing that was finished.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from scheduler.config.sweep import Sweep, Task
from scheduler.core.retry import GiveUp, JudgedAttempt, Policy
from scheduler.core.verdict import RULES_CHANGED, SWEEP_CHANGED, Kind, Verdict
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.judgement import attempts_in, judge_again, past_attempt
from scheduler.dispatch.settings_files import SettingsFiles, in_words
from scheduler.dispatch.standings import (
    HOLDS,
    Done,
    Failed,
    JudgedAgain,
    Kept,
    Recovered,
    Rejected,
    Running,
    Standing,
    Waiting,
)
from scheduler.storage.attempts_file import AttemptRecord, is_locked, read_attempts
from scheduler.storage.checkpoints import (
    FORGOTTEN,
    CheckpointFolder,
    find_log,
    folder_entries,
    has_other_rules,
    is_of_today,
    logs_by_task,
    why_not_done,
    why_not_of_today,
    why_not_there,
)
from scheduler.storage.json_files import read_object
from scheduler.storage.parallel import fork_map
from scheduler.storage.paths import SweepPaths


class SweepFiles:
    """The files that a sweep has, by task, and the completions that are in doubt."""

    def __init__(self, sweep: Sweep, paths: SweepPaths, *, logs_count: bool = True) -> None:
        """Look at the files of a sweep.

        Args:
            sweep: as its file has it today.
            paths: where its files are.
            logs_count: a ``.done`` whose log has changed does not hold; else logs are not looked at.
        """
        self.sweep = sweep
        self.paths = paths
        self.settings = SettingsFiles(sweep, paths)
        self.folder = CheckpointFolder.of(paths.checkpoints)
        done = self.folder.done
        logs = folder_entries(paths.logs, ".log") if logs_count else None
        work = partial(_doubts, sweep, done, logs)
        # Why a task's `.done` does not hold; tasks whose does are not in it.
        self.doubts = fork_map(work, [task for task in sweep.tasks if task.id in done])

    @cached_property
    def _logs(self) -> Mapping[str, Sequence[Path]]:
        return logs_by_task(self.paths.logs)

    def rejected(self, task: Task) -> Iterator[Rejected]:
        """Yield what is there of a task and does not hold."""
        if self.doubts.get(task.id, RULES_CHANGED) != RULES_CHANGED:
            path = self.paths.done(task.id)
            yield Rejected(path, self._why(self.doubts[task.id], read_object(path), task))
        if task.id in self.folder.failed:
            path = self.paths.failed(task.id)
            failed = read_object(path)
            if (why := why_not_of_today(failed, self.sweep.digest(task))) is not None:
                yield Rejected(path, self._why(why, failed, task))
        attempts = self.folder.attempts.get(task.id)
        if attempts is not None and not attempts.is_file(follow_symlinks=False):
            path = self.paths.attempts(task.id)
            yield Rejected(path, "what is there is not a regular file")

    def _why(self, reason: str, checkpoint: Mapping[str, Any] | None, task: Task) -> str:
        """Return a reason, with the keys of the sweep file that differ where it is that."""
        if reason not in (SWEEP_CHANGED, RULES_CHANGED) or checkpoint is None:
            return reason
        return reason + in_words(self.settings.changes(checkpoint, task))

    def judged_again(self, task: Task, path: Path) -> JudgedAgain | None:
        """Return what a checkpoint's log comes to today; None: it was judged by today's rules."""
        checkpoint = read_object(path)
        if checkpoint is None or not has_other_rules(checkpoint, self.sweep.settings_digest):
            return None
        verdict = self._judge_again(checkpoint, self.paths.log(task.id))
        return JudgedAgain(path, verdict, self._why(RULES_CHANGED, checkpoint, task))

    def _judge_again(self, checkpoint: Mapping[str, Any], log: Path) -> Verdict | None:
        attempts = attempts_in(checkpoint)
        if not attempts or find_log(checkpoint, [log]) is None:
            return None
        return judge_again(attempts[-1], log, self.sweep.rules)

    def attempt_judged_again(self, task: Task, record: AttemptRecord) -> JudgedAgain | None:
        """Return what an attempt that was judged by other rules comes to, if it is completed by today's."""
        judged_by = record.verdict.settings if record.verdict is not None else None
        if judged_by in (None, self.sweep.settings_digest) or record.ended is None:
            return None
        if record.started.digest != self.sweep.digest(task):
            return None
        verdict = judge_again(record, self.paths.log(task.id), self.sweep.rules)
        if verdict is None or not verdict.completed:
            return None
        before = {"settings": judged_by, "matrix": self.sweep.matrix(task)}
        path = self.paths.attempts(task.id)
        return JudgedAgain(path, verdict, self._why(RULES_CHANGED, before, task))

    def kept(self, task: Task, suffix: str) -> Kept | None:
        """Return the checkpoint of a task that was set aside and holds today, if there is one."""
        for path in self.folder.aside.get(task.id, ()):
            if not path.name.startswith(f"{task.id}{suffix}"):
                continue
            checkpoint = read_object(path)
            if checkpoint is None or checkpoint.get(FORGOTTEN):
                continue
            if why_not_of_today(checkpoint, self.sweep.digest(task)) is not None:
                continue
            if suffix == ".done" and why_not_there(checkpoint.get("device"), self.sweep.runs_on):
                continue
            logs = self._logs.get(task.id, ())
            log = find_log(checkpoint, logs)
            if log is not None and has_other_rules(checkpoint, self.sweep.settings_digest):
                again = self._judge_again(checkpoint, log)
                if again is not None and again.completed != (suffix == ".done"):
                    continue
            # As of any checkpoint: that its log is gone does not count against it.
            if log is not None or logs in ((), [self.paths.log(task.id)]):
                return Kept(path, log)
        return None


def recover(sweep: Sweep, paths: SweepPaths, clock: Clock) -> Recovered:
    """Read the files of a sweep; changes nothing."""
    files = SweepFiles(sweep, paths)
    standings = {task.id: classify(task, files, clock) for task in sweep.tasks}
    ended = (t for t, s in standings.items() if isinstance(s, Done | Failed))
    known = standings.keys() | sweep.left_out
    unlisted = (task for task in files.folder.attempts if task not in known)
    return Recovered(
        standings,
        frozenset(task for task in ended if task in files.folder.attempts),
        [task for task in unlisted if is_locked(paths.attempts(task))],
    )


def classify(task: Task, files: SweepFiles, clock: Clock) -> Standing:
    """Return where a task stands by its files."""
    folder = files.folder
    if task.id in folder.done and task.id not in files.doubts:
        return HOLDS
    if files.doubts.get(task.id) == RULES_CHANGED:
        again = files.judged_again(task, files.paths.done(task.id))
        if again is None or again.verdict is None or again.verdict.completed:
            return Done(judged_again=again)
        return _reopened(task, files, again, clock)
    attempts = read_attempts(files.paths.attempts(task.id)) if task.id in folder.attempts else []
    is_open = bool(attempts) and attempts[-1].verdict is None
    rejected = tuple(files.rejected(task))
    kept = files.kept(task, ".done")
    # What may still be alive is seen to first.
    if kept and (not is_open or _is_over(attempts[-1], files.paths.attempts(task.id))):
        return Done(rejected, kept)
    failed = files.paths.failed(task.id)
    if task.id in folder.failed and all(one.path != failed for one in rejected):
        again = files.judged_again(task, failed)
        if again is not None and again.verdict is not None and again.verdict.completed:
            return _reopened(task, files, again, clock)
        return Failed(rejected, judged_again=again)
    if not is_open and (failure := files.kept(task, ".failed")) is not None:
        return Failed(rejected, failure)
    again = None if is_open or not attempts else files.attempt_judged_again(task, attempts[-1])
    judged = attempts[:-1] if is_open or again is not None else attempts
    digest = files.sweep.digest(task)
    history = tuple(_past(attempt, clock) for attempt in judged if attempt.started.digest == digest)
    if is_open or again is not None:
        return Running(replace(attempts[-1], verdict=None), history, rejected, kept, again)
    return Waiting(history, rejected, gives_up=_gives_up(history, files.sweep))


def _gives_up(history: Sequence[JudgedAttempt], sweep: Sweep) -> bool:
    return bool(history) and isinstance(Policy.of(sweep).next_step(history), GiveUp)


def _reopened(task: Task, files: SweepFiles, again: JudgedAgain, clock: Clock) -> Running:
    """Return where a task stands whose checkpoint is to be judged anew: its last attempt is not judged."""
    *earlier, last = attempts_in(read_object(again.path) or {})
    history = tuple(_past(attempt, clock) for attempt in earlier)
    rejected = tuple(files.rejected(task))
    assert again.verdict is not None
    judged = (*history, past_attempt(last, again.verdict, clock))
    gives_up = not again.verdict.completed and _gives_up(judged, files.sweep)
    last.verdict = None
    return Running(last, history, rejected, judged_again=again, gives_up=gives_up)


def _is_over(attempt: AttemptRecord, file: Path) -> bool:
    return attempt.ended is not None and not is_locked(file)


def _doubts(
    sweep: Sweep,
    done: Mapping[str, os.DirEntry[str]],
    logs: Mapping[str, os.DirEntry[str]] | None,
    tasks: Sequence[Task],
) -> dict[str, str]:
    """Return why checkpoints do not hold, by the tasks of those that do not."""
    doubts = {}
    for task in tasks:
        entry, digest = done[task.id], sweep.digest(task)
        if logs is None and is_of_today(entry, digest, sweep.settings_digest, sweep.runs_on):
            continue
        checkpoint = read_object(entry.path)
        log = logs.get(task.id) if logs is not None else None
        why = why_not_done(checkpoint, digest, log, sweep.runs_on)
        if why is None and has_other_rules(checkpoint or {}, sweep.settings_digest):
            why = RULES_CHANGED
        if why is not None:
            doubts[task.id] = why
    return doubts


def _past(record: AttemptRecord, clock: Clock) -> JudgedAttempt:
    # A verdict for which there was no room counts as a plain failure: attempts must not go uncounted.
    unrecorded = Verdict(Kind.FAILED, "its verdict could not be recorded")
    return past_attempt(record, record.verdict.verdict if record.verdict else unrecorded, clock)
