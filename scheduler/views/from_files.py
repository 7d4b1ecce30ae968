"""The progress that files tell: what `status` shows, and what a dispatcher begins with."""

from __future__ import annotations

import os
from collections.abc import Mapping

from scheduler.config.sweep import Sweep
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import (
    DONE,
    FAILED,
    RUNNING,
    WAITING,
    Holder,
    TaskState,
    TaskView,
)
from scheduler.core.verdict import SWEEP_CHANGED
from scheduler.devices.processes import start_ticks
from scheduler.dispatch.recovery import Done, Failed, Recovered, Running, Standing, Waiting
from scheduler.storage.attempts_file import is_locked, read_attempts
from scheduler.storage.checkpoints import folder_entries
from scheduler.storage.journal import JournalReader
from scheduler.storage.json_files import read_object
from scheduler.storage.paths import SweepPaths


def initial_progress(recovered: Recovered, paths: SweepPaths) -> SweepProgress:
    """Return the progress of a sweep whose dispatcher has just read its files."""
    progress = SweepProgress(
        {task: TaskView(_state(standing)) for task, standing in recovered.standings.items()}
    )
    # Of dispatchers before this one: how long tasks took them, to estimate by.
    before = SweepProgress({})
    for entry in JournalReader(paths.journal, recent=True):
        before.apply(entry)
    progress.durations.extend(before.durations)
    return progress


def _state(standing: Standing) -> TaskState:
    match standing:
        case Done():
            return DONE
        case Failed():
            return FAILED
        case Running() | Waiting():
            return WAITING


def progress_from_files(sweep: Sweep, paths: SweepPaths) -> SweepProgress:
    """Return the progress that journal and checkpoints give; changes nothing.

    The journal tells what happened, the checkpoints what counts: a ``.done`` that was removed, or is of
    another sweep file than today's, is not completed any more, whatever the journal says. That each
    checkpoint's log is still the one that proved it, only a run looks at, and ``--dry-run``.
    """
    progress = SweepProgress({task.id: TaskView() for task in sweep.tasks})
    journal = JournalReader(paths.journal, recent=True)
    for entry in journal:
        progress.apply(entry)
    progress.unread_lines = journal.unread
    if progress.holder is not None and not _lives(progress.holder):
        progress.holder = None
    done = folder_entries(paths.checkpoints, ".done")
    failed = folder_entries(paths.checkpoints, ".failed")
    done_holds, failed_holds = _of_today(done, sweep), _of_today(failed, sweep)
    for name, view in progress.tasks.items():
        if name in done and done_holds:
            progress.move(name, DONE)
        elif name in failed and failed_holds:
            progress.move(name, FAILED)
        elif view.state in (DONE, FAILED) or progress.holder is None:
            progress.move(name, WAITING)
            if name in done or name in failed:
                view.rejected = SWEEP_CHANGED
    if progress.holder is None:
        _show_left_running(progress, paths)
    return progress


def _of_today(checkpoints: Mapping[str, os.DirEntry[str]], sweep: Sweep) -> bool:
    """Say whether checkpoints are of today's sweep file.

    One tells of all: every start sets aside those that are not. So a hundred thousand need not be read.
    """
    for task in sweep.tasks:
        if task.id in checkpoints:
            content = read_object(checkpoints[task.id].path)
            if content is not None:
                return content.get("digest") == sweep.digest(task)
    return True


def _show_left_running(progress: SweepProgress, paths: SweepPaths) -> None:
    """Show what a dispatcher that is gone left running, and nothing else on its devices."""
    for device in progress.devices.values():
        device.task = None
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
            view.attempts, view.device = begun.attempt, begun.device
            view.started = begun.started
        if view.device in progress.devices:
            progress.devices[view.device].task = task


def _lives(holder: Holder) -> bool:
    """Say whether the dispatcher that wrote the event still runs (its pid may be another's by now)."""
    try:
        return start_ticks(holder.pid) == holder.start_ticks
    except OSError:
        return False
