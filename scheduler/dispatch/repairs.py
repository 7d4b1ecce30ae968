"""What is done about a sweep's files before a run: proved again, taken again, removed.

A checkpoint that does not hold is left where it is: it is set aside when its task starts anew, which it may
not, if the sweep file is put back before.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from scheduler.config.sweep import Sweep, Task
from scheduler.core import journal_events as je
from scheduler.core.journal_events import TaskCompleted
from scheduler.core.verdict import Exit, Kind, judge
from scheduler.dispatch.judgement import attempts_in, forget_attempts, judge_attempt
from scheduler.dispatch.results_files import put_results_in_place
from scheduler.dispatch.settings_files import SettingsFiles
from scheduler.dispatch.standings import (
    HOLDS,
    Done,
    Failed,
    Kept,
    Recovered,
    Rejected,
    Running,
    Standing,
)
from scheduler.dispatch.writer import write_together
from scheduler.executors.local.attempt_files import rotate
from scheduler.storage.atomic import append_line, sync_folder, write_durably
from scheduler.storage.attempts_file import JUDGE_AGAIN, devices_as_json
from scheduler.storage.checkpoints import find_log, logs_by_task, why_not_there
from scheduler.storage.journal import JournalReader
from scheduler.storage.json_files import read_object
from scheduler.storage.logs import is_log, read_log
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import set_aside

_DIGEST = re.compile(r"[0-9a-f]{64}")


def set_right(found: Recovered, sweep: Sweep, paths: SweepPaths) -> Recovered:
    """Do what the files of a sweep ask for before a run; return the state after that.

    Raises:
        OSError: a file cannot be written or renamed.
    """
    with contextlib.suppress(OSError):  # no room: a later message will not say what has changed
        SettingsFiles(sweep, paths).record()
    completions = _Completions(sweep, paths)
    standings = dict(found.standings)
    leftovers = set(found.leftovers)
    for task in (task for task in sweep.tasks if standings[task.id] is not HOLDS):
        standing = standings[task.id]
        kept = standing.kept if isinstance(standing, Done | Failed) else None
        if standing.rejected and kept is None and completions.prove_again(task, standing):
            standings[task.id] = HOLDS
            if paths.attempts(task.id).exists():
                leftovers.add(task.id)
            continue
        if kept is not None:
            _take_again(task, kept, sweep, paths)
            leftovers.discard(task.id)
        if isinstance(standing, Running) and standing.judged_again is not None:
            _reopen(task, standing, paths)
        standings[task.id] = replace(standing, rejected=_in_the_way(task, standing, paths))
    _update_rules(standings.values(), sweep)
    for task_id in found.leftovers:
        if isinstance(standings[task_id], Failed):
            forget_attempts(task_id, paths)
            leftovers.discard(task_id)
    return replace(found, standings=standings, leftovers=frozenset(leftovers))


def _update_rules(standings: Iterable[Standing], sweep: Sweep) -> None:
    """Record of checkpoints whose logs come to the same that they were judged by today's rules."""
    contents: dict[Path, Mapping[str, Any]] = {}
    for standing in standings:
        again = standing.judged_again
        if isinstance(standing, Done | Failed) and again is not None and again.verdict is not None:
            content = read_object(again.path) or {}
            contents[again.path] = content | {"settings": sweep.settings_digest}
    if contents:
        write_together(contents)


def _reopen(task: Task, standing: Running, paths: SweepPaths) -> None:
    """Have an attempt judged that a checkpoint or a verdict told of: as if its dispatcher had died before.

    Whenever this is cut short, the checkpoint still stands, or the attempts are all there.
    """
    assert standing.judged_again is not None
    file, checkpoint = paths.attempts(task.id), standing.judged_again.path
    if checkpoint == file:
        append_line(file, {"attempt": standing.attempt.started.attempt, JUDGE_AGAIN: True})
        return
    attempts = attempts_in(read_object(checkpoint) or {})
    attempts[-1].verdict = None
    write_durably(file, *(line for attempt in attempts for line in attempt.lines()))
    set_aside(checkpoint)


def _in_the_way(task: Task, standing: Standing, paths: SweepPaths) -> tuple[Rejected, ...]:
    """Set aside what stands at the attempts file's name and is none; return all that was rejected."""
    attempts = paths.attempts(task.id)
    return tuple(
        Rejected(set_aside(one.path), one.why, aside=True)
        if one.path == attempts and os.path.lexists(attempts)
        else one
        for one in standing.rejected
    )


def _take_again(task: Task, kept: Kept, sweep: Sweep, paths: SweepPaths) -> None:
    """Take again what was set aside, once the attempt that was made meanwhile is judged."""
    if paths.attempts(task.id).is_file():
        judge_attempt(task, paths, sweep)
    take_again(task, kept, sweep, paths)
    forget_attempts(task.id, paths)


def take_again(task: Task, kept: Kept, sweep: Sweep, paths: SweepPaths) -> None:
    """Give a checkpoint that was set aside its name again, and before its log and its measurements.

    Whenever this is cut short, what was set aside is found again, and its log by its content.

    Raises:
        OSError: a file cannot be renamed.
    """
    put_results_in_place(task, sweep, paths)
    for path in (paths.done(task.id), paths.failed(task.id)):
        if os.path.lexists(path):
            set_aside(path)
    log = paths.log(task.id)
    if kept.log not in (None, log):
        if os.path.lexists(log):
            rotate(str(log), 1)
        os.rename(kept.log, log)
    name, _, _ = kept.path.name.rpartition(".aside")
    kept.path.rename(kept.path.with_name(name))
    sync_folder(paths.checkpoints)


def make_way(
    task: Task, standing: Standing | None, sweep: Sweep, paths: SweepPaths
) -> Iterator[je.JournalEvent]:
    """Set aside what does not hold of a task that starts anew, take again what does; yield what to tell.

    Of what is taken again, the executor tells as of anything that is completed.

    Raises:
        OSError: a file cannot be renamed.
    """
    if isinstance(standing, Running) and standing.kept is not None:
        kept = find_again(task, standing.kept, paths)
        if kept is not None:
            take_again(task, kept, sweep, paths)
            yield je.CheckpointsTakenAgain([task.id])
            return
    if standing is None:
        return
    put_results_in_place(task, sweep, paths)
    for rejected in standing.rejected:
        if not rejected.aside and os.path.lexists(rejected.path):
            name = set_aside(rejected.path).name
            yield je.CheckpointRejected(task.id, rejected.why, name)


def find_again(task: Task, kept: Kept, paths: SweepPaths) -> Kept | None:
    """Return what was set aside with its log as that is called by now; None if it is gone."""
    checkpoint = read_object(kept.path)
    if checkpoint is None:
        return None
    return replace(kept, log=find_log(checkpoint, logs_by_task(paths.logs).get(task.id, ())))


def _is_of_another(done: Path, digest: str) -> bool:
    """Say whether a ``.done`` has another digest, rather than a damaged one."""
    found = (read_object(done) or {}).get("digest")
    return isinstance(found, str) and found != digest and _DIGEST.fullmatch(found) is not None


class _Completions:
    """What the journal recorded of completed tasks, to prove again what a damaged ``.done`` said."""

    def __init__(self, sweep: Sweep, paths: SweepPaths) -> None:
        self._sweep = sweep
        self._paths = paths

    @cached_property
    def _recorded(self) -> dict[tuple[str, str | None], TaskCompleted]:
        events = (entry.event for entry in JournalReader(self._paths.journal))
        return {
            (event.task, event.digest): event
            for event in events
            if isinstance(event, TaskCompleted)
        }

    def prove_again(self, task: Task, standing: Standing) -> bool:
        """Write the task's ``.done`` anew if the record of its end and its log prove it; say whether.

        Neither a changed sweep nor a changed log is proved by this.
        """
        path = self._paths.done(task.id)
        digest = self._sweep.digest(task)
        if all(one.path != path for one in standing.rejected) or _is_of_another(path, digest):
            return False
        recorded = self._recorded.get((task.id, digest))
        if recorded is None:
            return False
        device = recorded.devices[0] if recorded.devices else None
        if why_not_there(device, self._sweep.runs_on) is not None:
            return False
        log = self._paths.log(task.id)
        if not is_log(log, recorded.log_sha256, recorded.log_crc32):
            return False
        scan, facts = read_log(log, self._sweep.rules)
        if facts is None or not judge(Exit(code=0), scan).completed:
            return False
        content = {
            **recorded.summary,
            "task": task.id,
            "matrix": self._sweep.matrix(task),
            "digest": digest,
            "settings": self._sweep.settings_digest,
            "verdict": Kind.COMPLETED.value,
            "cause": "proved again by the journal and the log, since the checkpoint was damaged",
            **devices_as_json(recorded.devices),
            "seconds": recorded.seconds,
            "exit_code": 0,
            "attempts": [],
            "log": {"path": str(log), **facts.as_json()},
        }
        write_durably(path, content)
        return True


def told_of_checkpoints(recovered: Recovered) -> Iterator[je.JournalEvent]:
    """Yield which checkpoints do not hold, many for the same reason at once, and which do again."""
    for state, why, tasks in recovered.doubts():
        yield je.CheckpointsInDoubt(tasks, state, why)
    for task, rejected in recovered.rejected:
        if rejected.aside:
            yield je.CheckpointRejected(task, rejected.why, rejected.path.name)
    for why, outcome, tasks in recovered.judged_again():
        yield je.CheckpointsJudgedAgain(tasks, why, outcome)
    if taken_again := recovered.taken_again:
        yield je.CheckpointsTakenAgain(taken_again)
