"""The core's decisions that are only for the record, as events of the journal."""

from __future__ import annotations

import time
from dataclasses import replace

from scheduler.core import events as ev
from scheduler.core import journal_events as je
from scheduler.core.texts import braked_text, set_aside_text
from scheduler.dispatch.clock import Clock

Record = ev.Waits | ev.Withdrawn | ev.SetAside | ev.Resumed | ev.Draining | ev.Braked


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
            return je.SweepDraining(running)
        case ev.Braked():
            return je.SweepBraked(braked_text(action.tasks, action.cause))
