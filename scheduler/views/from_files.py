"""The progress that files tell: what `status` shows, and what a dispatcher begins with."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from scheduler.config.sweep import Sweep
from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.core.retry import is_timed_stage_done
from scheduler.core.snapshot import (
    DONE,
    FAILED,
    RUNNING,
    WAITING,
    Holder,
    Limit,
    TaskState,
    TaskView,
)
from scheduler.core.verdict import Kind, Verdict
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.recovery import SweepFiles, classify
from scheduler.dispatch.standings import (
    Done,
    Failed,
    JudgedAgain,
    Recovered,
    Running,
    Standing,
    Waiting,
)
from scheduler.dispatch.wishes.files import Wishes, read_wishes
from scheduler.storage.attempts_file import (
    AttemptRecord,
    is_locked,
    read_attempts,
    supervisor_of,
)
from scheduler.storage.checkpoints import CheckpointFolder, folder_entries, kind_of_device
from scheduler.storage.journal import JournalReader
from scheduler.storage.paths import SweepPaths
from scheduler.views.messages import clock_time, sentence
from scheduler.views.running_sweep import FileChanges, LockLook, full_disk

_MOST_EVENTS = 200


def initial_progress(recovered: Recovered, paths: SweepPaths) -> SweepProgress:
    """Return the progress of a sweep whose dispatcher has just read its files."""
    progress = SweepProgress(
        {task: TaskView(_state(standing)) for task, standing in recovered.standings.items()}
    )
    progress.work = recovered.work
    for task, standing in recovered.standings.items():
        if isinstance(standing, Running | Waiting) and is_timed_stage_done(standing.history):
            _show_stage(progress.tasks[task], read_attempts(paths.attempts(task)))
    # Of dispatchers before this one: how long tasks took them, to estimate by.
    before = SweepProgress({})
    for entry in JournalReader(paths.journal, recent=True):
        before.apply(entry)
        if isinstance(entry.event, je.TaskCompleted):
            view = progress.tasks.get(entry.event.task)
            if view is not None and view.state == DONE:
                view.seconds, view.summary = entry.event.seconds, entry.event.summary
    progress.durations.extend(before.durations)
    progress.told, progress.braked = before.told, before.braked
    return progress


def _state(standing: Standing) -> TaskState:
    match standing:
        case Done():
            return DONE
        case Failed():
            return FAILED
        case Running(gives_up=True) | Waiting(gives_up=True):
            return FAILED
        case Running(judged_again=JudgedAgain(verdict=Verdict(kind=Kind.COMPLETED))):
            return DONE
        case Running() | Waiting():
            return WAITING


def _why_not(standing: Standing) -> str | None:
    """Return why what is on file of a task does not hold."""
    again = standing.judged_again
    if again is not None and again.verdict is not None:
        return f"{again.why}: {again.verdict.cause}"
    return standing.rejected[0].why if standing.rejected else None


def progress_from_files(sweep: Sweep, paths: SweepPaths) -> SweepProgress:
    """Return the progress that journal and checkpoints give; changes nothing.

    The journal tells what happened, the checkpoints what counts: a ``.done`` that was removed, or is of
    another sweep file than today's, is not completed any more, whatever the journal says; one that was set
    aside and is of today's is. That the log of a ``.done`` in place is still the one that proved it, only a
    run looks at, and ``--dry-run``.
    """
    look = LockLook.at(paths)
    changes = FileChanges.of(look, sweep, paths)
    progress = SweepProgress({task.id: TaskView() for task in sweep.tasks})
    for name in changes.removed if changes is not None else ():
        if not (paths.done(name).exists() or paths.failed(name).exists()):
            progress.add(name)
    journal = JournalReader(paths.journal, recent=True)
    for entry in journal:
        progress.apply(entry)
    progress.unread_lines = journal.unread
    progress.device_counts = sweep.device_counts
    if sweep.runs_on is None:
        sweep = replace(sweep, runs_on=_last_ran_on(progress))
    told_of_it = _correct_holder(progress, look.holder(progress.holder))
    files, clock = SweepFiles(sweep, paths, logs_count=False), Clock()
    for task in sweep.tasks:
        standing, view = classify(task, files, clock), progress.tasks[task.id]
        if (state := _state(standing)) != WAITING:
            progress.move(task.id, state)
            if isinstance(standing, Done | Failed) and standing.kept is not None:
                view.checkpoint = str(standing.kept.path)
            if state == FAILED and not isinstance(standing, Failed):  # the next run will record it
                view.cause = _why_not(standing) or view.cause
        elif view.state in (DONE, FAILED) or progress.holder is None:
            progress.move(task.id, WAITING)
            view.rejected = _why_not(standing)
    if not told_of_it:
        _show_left_running(progress, paths)
    _show_attempts_so_far(progress, paths)
    if changes is not None:
        changes.tell(progress)
    look.tell_left_out(progress, sweep)
    if progress.holder is not None and progress.trouble is None:
        progress.trouble = full_disk(paths)
    _show_what_left_the_file(progress, paths, files.folder)
    _show_wishes(progress, read_wishes(paths))
    return progress


def last_events(paths: SweepPaths, progress: SweepProgress) -> list[str]:
    """Return the journal's last events as sentences, each after its time of day, the newest last."""
    said = (
        (clock_time(entry.at), sentence(entry.event, progress))
        for entry in deque(JournalReader(paths.journal, recent=True), maxlen=_MOST_EVENTS)
    )
    return [f"{at} {text}" for at, text in said if text is not None]


def _show_wishes(progress: SweepProgress, wishes: Wishes) -> None:
    """Tell what somebody asked for, be there a dispatcher that does it or not."""
    progress.paused_by = wishes.paused.by if wishes.paused is not None else None
    for name, device in progress.devices.items():
        device.drained = name in wishes.drained


def _last_ran_on(progress: SweepProgress) -> Literal["GPU", "CPU"] | None:
    """Return the kind of device that the last dispatcher had, by the journal: no driver is asked."""
    kinds = {kind_of_device(device) for device in progress.devices}
    return "GPU" if "GPU" in kinds else "CPU" if "CPU" in kinds else None


def _show_what_left_the_file(
    progress: SweepProgress, paths: SweepPaths, folder: CheckpointFolder
) -> None:
    """Tell of the tasks that have files here, though the sweep file names them no more."""
    tried = folder.attempts.keys()
    left = {*tried, *folder.done, *folder.failed} - progress.tasks.keys()
    progress.left_the_file = sorted(left)
    progress.left_running = sorted(n for n in left & tried if is_locked(paths.attempts(n)))
    pids = {name: supervisor_of(paths.attempts(name)) for name in progress.left_running}
    progress.left_running_pids = {name: pid for name, pid in pids.items() if pid is not None}


def _correct_holder(progress: SweepProgress, holder: Holder | None) -> bool:
    """Make the holder the one that runs; say whether there is one, and the journal tells of it."""
    told, progress.holder = progress.holder, holder
    if holder is None:
        return False
    if told is not None and (told.pid, told.start_ticks) == (holder.pid, holder.start_ticks):
        return True
    # Of devices and trouble it tells what another dispatcher met.
    progress.devices.clear()
    progress.trouble, progress.draining, progress.braked = None, False, None
    progress.limit = Limit()
    return False


def _show_left_running(progress: SweepProgress, paths: SweepPaths) -> None:
    """Show what runs without the journal's telling of it, and nothing else on its devices."""
    for device in progress.devices.values():
        device.tasks.clear()
    for task in folder_entries(paths.checkpoints, ".attempts"):
        file = paths.attempts(task)
        if (
            task not in progress.tasks
            or progress.tasks[task].state != WAITING
            or not is_locked(file)
        ):
            continue
        view = progress.move(task, RUNNING)
        assert view is not None
        attempts = read_attempts(file)
        if attempts:  # else its supervisor is about to begin
            begun = attempts[-1].started
            view.attempts, view.devices = begun.attempt, begun.devices
            view.started = begun.started
            _show_stage(view, attempts)
        for name in view.devices:
            if name in progress.devices:
                progress.devices[name].tasks.append(task)


def _show_attempts_so_far(progress: SweepProgress, paths: SweepPaths) -> None:
    """Show of waiting tasks the attempts that count, not those that `retry` or an edit made void."""
    tried = folder_entries(paths.checkpoints, ".attempts")
    for name, view in progress.tasks.items():
        if view.state != WAITING:
            continue
        view.attempts, view.cause, view.stage_attempts = 0, None, 0
        view.devices, view.started, view.seconds, view.summary = (), None, None, None
        if name in tried and (attempts := read_attempts(paths.attempts(name))):
            last = attempts[-1]
            view.attempts = last.started.attempt
            _show_stage(view, attempts)
            if last.verdict is not None and view.stage_attempts != view.attempts:
                view.cause = last.verdict.verdict.cause


def _show_stage(view: TaskView, attempts: Sequence[AttemptRecord]) -> None:
    """Show which attempt did the timed stage of a task in two stages, if one has."""
    for attempt in attempts:
        begun, end, verdict = attempt.started, attempt.ended, attempt.verdict
        if verdict is not None and verdict.verdict.kind is Kind.STAGE_DONE:
            view.stage_attempts = begun.attempt
            ended = end.ended if end is not None else None
            if ended is not None and begun.started is not None:
                view.stage_seconds = max(0.0, ended - begun.started)
            return
