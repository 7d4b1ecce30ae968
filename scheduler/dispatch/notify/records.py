"""What is only for the record, as events of the journal: a dispatcher's start, decisions of the core."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from scheduler.config.sweep import Sweep
from scheduler.core import events as ev
from scheduler.core import journal_events as je
from scheduler.core.snapshot import ListedDevice
from scheduler.core.texts import braked_text, set_aside_text
from scheduler.devices.finding import room
from scheduler.devices.processes import start_ticks
from scheduler.dispatch.clock import Clock
from scheduler.executors.base import Executor
from scheduler.storage.paths import SweepPaths

Record = ev.Waits | ev.Withdrawn | ev.SetAside | ev.Resumed | ev.Draining | ev.Braked


def start_of(
    sweep: Sweep, paths: SweepPaths, executor: Executor, copy: str | None
) -> je.DispatcherStarted:
    """Return what the journal is to say of this process's start as the sweep's dispatcher.

    Args:
        sweep: that it runs.
        paths: of its files.
        executor: that has its devices.
        copy: the digest of the copy of the code that attempts run from; None: from where the code is.
    """
    return je.DispatcherStarted(
        os.getpid(),
        start_ticks(os.getpid()),
        len(sweep.tasks),
        [
            ListedDevice(d.id, d.name, d.index, d.cores, room(d, sweep.devices))
            for d in executor.devices
        ],
        executor.where,
        str(paths.root),
        len(sweep.left_out),
        copy,
        most if isinstance(most := sweep.devices.at_most, int) else None,
        sweep.priority,
    )


def record_of(action: Record, clock: Clock, running: int) -> je.JournalEvent:
    """Return what the journal is to say of a decision; ``running``: how many attempts run."""
    match action:
        case ev.Waits():
            reason, over = action.retry.reason, action.retry.at <= time.monotonic()
            # A back-off that ended under no dispatcher is nothing to wait for.
            reason = replace(reason, pause=0.0) if over else reason
            return je.TaskWaits(action.task, clock.time_of_day(action.retry.at), reason)
        case ev.Withdrawn():
            return je.TaskWithdrawn(action.task)
        case ev.SetAside():
            until = clock.time_of_day(action.until)
            return je.DeviceSetAside(action.device, until, set_aside_text(action.cause))
        case ev.Resumed():
            return je.SweepResumed()
        case ev.Draining():
            return je.SweepDraining(running, action.why)
        case ev.Braked():
            return je.SweepBraked(braked_text(action.tasks, action.cause))
