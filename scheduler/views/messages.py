"""Journal events and reasons as sentences for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scheduler.config.hours import hour_text
from scheduler.config.printable import printable
from scheduler.config.units import format_duration, format_size
from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.core.retry import RetryCode, RetryReason
from scheduler.core.snapshot import DeviceView, Limit, Snapshot
from scheduler.core.texts import retry_text
from scheduler.storage.json_files import as_number

# Reasons for which a task waits on, though its back-off is over: not every device will do.
_NOT_ANY_DEVICE = frozenset({RetryCode.NEEDS_MEMORY, RetryCode.DEVICE_ERROR})
_LONGEST_NAME = 80  # characters
_LONGEST_CONCLUSION = 400
_MOST_NAMED = 5  # tasks in one line


def clock_time(at: float) -> str:
    """Return a time of day as hours, minutes and seconds, local time."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(at))
    except (ValueError, OverflowError, OSError):  # of a damaged line in the journal
        return "?"


def without(left_out: int) -> str:
    """Return what follows a number of tasks where others are left out."""
    return f" ({left_out} left out by --only)" if left_out else ""


def sentence(event: je.JournalEvent, progress: SweepProgress) -> str | None:
    """Return what an event says, in one line, or None if people need not hear of it."""
    text = _text(event, progress)
    # A path may hold a line end, a cause an escape sequence.
    return text and printable(text, " ")


def _text(  # noqa: C901, PLR0912, PLR0915  # one case for each kind of event
    event: je.JournalEvent, progress: SweepProgress
) -> str | None:
    match event:
        case je.DispatcherStarted():
            root = f"root {event.root}; " if event.root else ""
            code = f"; from a copy of the code ({event.snapshot})" if event.snapshot else ""
            most = f"; {limit_text(Limit(event.at_most))}" if event.at_most is not None else ""
            rank = f"; priority {event.priority}" if event.priority else ""
            return f"{event.tasks} tasks{without(event.left_out)}; {root}{event.where}{most}{rank}{code}"
        case je.Preloaded():
            if event.why is not None:
                then = "attempts start without it" if event.prepares else "nothing is prepared"
                of_task = f" for {event.task}" if event.task is not None else ""
                return f"worker.preload: {event.module}: {event.why}; {then}{of_task}"
            took = format_duration(event.seconds or 0.0)
            return f"{event.module} is loaded, which took {took}; from now on attempts are forked from it"
        case je.CheckpointRejected():
            why = f"its checkpoint does not hold: {event.why}"
            return f"{event.task}: {why}; kept as {event.kept_as}, runs again"
        case je.CheckpointsInDoubt():
            return in_doubt(event.tasks, event.state, event.why)
        case je.CheckpointsTakenAgain():
            one = len(event.tasks) == 1
            hold = "its checkpoint holds" if one else "their checkpoints hold"
            return f"{_some(event.tasks)}: {hold} again; set aside before, taken back"
        case je.CheckpointsJudgedAgain():
            return judged_again(event.tasks, event.why, event.outcome)
        case je.SweepLost():
            return "another dispatcher has the sweep, because its lock file was removed; this one leaves"
        case je.UnlistedTask():
            pid = f" (`kill {event.pid}` ends it)" if event.pid is not None else ""
            return f"{event.task}: still runs, but is no longer in the sweep; left alone{pid}"
        case je.StopAsked():
            then = "it fails" if event.fail else "it goes back to waiting"
            return f"{event.task}: {event.by} asked for it to be stopped; {then}"
        case je.PauseAsked():
            what = "what runs is stopped" if event.now else "what runs may end"
            return f"paused by hand ({event.by}): nothing new is started, {what}; `resume` lets it go on"
        case je.ResumeAsked():
            return f"resumed by hand ({event.by or 'the file was removed'})"
        case je.DrainAsked():
            what = "nothing new is started on it" if event.on else "it is used again"
            by = event.by or "the file was removed"
            return f"{_label(event.device, progress)}: drained by hand ({by}): {what}".replace(
                "drained", "drained" if event.on else "no longer drained"
            )
        case je.AtMost():
            return limit_text(event)
        case je.SweepReloaded():
            return f"the sweep file was read again ({event.by}): {counted_changes(event)}"
        case je.ReloadRefused():
            return f"the sweep file was not taken in ({event.by}): {event.why}"
        case je.TaskWithdrawn():
            return f"{event.task}: is no longer in the sweep file; it leaves the sweep"
        case je.WishIgnored():
            return f".wishes/{event.file}: ignored: it {event.why}"
        case je.AttemptStarted():
            where = _seat(event, progress)
            return f"{event.task}: attempt {event.attempt} started on {where}"
        case je.AttemptAdopted():
            where = _seat(event, progress)
            return f"{event.task}: attempt {event.attempt} still runs on {where}; taken over"
        case je.AttemptFailed():
            attempt = f"attempt {event.attempt} on {labels(event.devices, progress)}"
            return f"{event.task}: {attempt}: {event.verdict}: {event.cause}"
        case je.TaskWaits(reason=RetryReason(code=RetryCode.STAGE_DONE)):
            return f"{event.task}: its timed stage is done; the untimed one may share a device"
        case je.TaskWaits():
            return f"{event.task}: will be tried again: {retry_text(event.reason)}"
        case je.TaskCompleted():
            figures = figures_of(event.summary)
            took = format_duration(event.seconds)
            return f"{event.task}: completed in {took}{', ' + figures if figures else ''}"
        case je.TaskFailed():
            return f"{event.task}: failed for good: {event.why}"
        case je.AttemptStopping():
            return f"{event.task}: stopping attempt {event.attempt}: {event.why}"
        case je.DeviceState():
            label = _label(event.device, progress)
            return None if label.startswith("cpu") else f"{label}: {event.reason}"
        case je.OthersCame():
            return _others(event, progress)
        case je.MoreTaken():
            taken, asked = format_size(event.taken), format_size(event.asked)
            where = _label(event.device, progress)
            return (
                f"{event.task}: takes {taken} of {where}, more than the {asked} that it asked for"
            )
        case je.DeviceSetAside():
            until = clock_time(event.until)
            return f"{_label(event.device, progress)}: set aside until {until}: {event.why}"
        case je.SweepPaused():
            return f"paused: {event.why}; goes on by itself when files can be written again"
        case je.SweepResumed():
            return "goes on: files can be written again"
        case je.SweepDraining(why=why) if why:
            return f"{why}: nothing new is started, {event.running} running attempt(s) may end"
        case je.SweepDraining():
            return (
                f"interrupted: nothing new is started, {event.running} running attempt(s) may end; "
                "Ctrl-C again stops them"
            )
        case je.DispatcherEnded():
            left = len(event.left_running)
            go_on = f"{left} attempt(s) go on and will be taken over by the same command"
            leaves = event.exit_code is None or (event.exit_code == 130 and left)
            return f"dispatcher leaves; {go_on}" if leaves else None
        case je.SweepBraked():
            return f"stops: {event.why}; nothing new is started, what runs may end"
        case je.NotificationFailed():
            return f"notify.command ({event.occasion}) {event.why}"
        case je.TrackingFailed():
            return f"track: {event.why}; what did not go out goes out the next time"
        case je.AttemptEnded() | je.Notified() | je.ShareAsked() | Snapshot():
            return None


def limit_text(limit: Limit) -> str:
    """Return how many devices may be in use at once, and until when."""
    if limit.devices is None:
        return "all devices may be in use at once"
    most = f"at most {limit.devices} in use at once"
    try:
        return most if limit.until is None else f"{most} until {hour_text(limit.until, limit.zone)}"
    except (ValueError, OverflowError, OSError):  # of a damaged line in the journal
        return most


def counted_changes(event: je.SweepReloaded) -> str:
    """Return how many tasks are new, changed, or gone, and which settings were taken over."""
    counts = {"new": event.new, "changed": event.changed, "no longer in it": event.removed}
    said = [f"{count} {what}" for what, count in counts.items() if count]
    tasks = f"tasks: {', '.join(said)}" if said else "its tasks are the same"
    if event.settings is not None and not said and not event.settings:
        return "its tasks and its settings are the same"
    return "; ".join([tasks, *(event.settings or ())])


def in_doubt(tasks: Sequence[str], state: str, why: str) -> str:
    """Return in one line that checkpoints do not hold, and why."""
    if len(tasks) == 1:
        return f"{tasks[0]}: is not {state} any more: {why}; set aside when it starts anew"
    return f"{len(tasks)} {state} tasks do not hold any more: {why}; set aside when they start anew"


def judged_again(tasks: Sequence[str], why: str, outcome: str) -> str:
    """Return in one line what logs that were judged by other rules come to today."""
    return f"{_some(tasks)}: judged again by the kept log, because {why}: {outcome}"


def _some(tasks: Sequence[str]) -> str:
    """Return the names of tasks, of many the first."""
    more = len(tasks) - _MOST_NAMED
    named = ", ".join(tasks[:_MOST_NAMED])
    return f"{named} and {more} other{'s' if more > 1 else ''}" if more > 0 else named


def _label(device: str, progress: SweepProgress) -> str:
    return (progress.devices.get(device) or DeviceView(index=device)).label


def labels(devices: Sequence[str], progress: SweepProgress) -> str:
    """Return how people call the devices of an attempt."""
    return ", ".join(_label(device, progress) for device in devices)


def _seat(event: je.AttemptStarted | je.AttemptAdopted, progress: SweepProgress) -> str:
    """Return where an attempt runs, and how many share that device with it."""
    views = [progress.devices.get(name) or DeviceView(index=name) for name in event.devices]
    return ", ".join(view.label + view.share_of(event.task) for view in views)


def _others(event: je.OthersCame, progress: SweepProgress) -> str:
    who = [f"{p.pid} ({p.name}, user {p.user})" for p in event.processes]
    if not who:
        hidden = format_size(event.hidden_memory)
        who = [f"{hidden} held by processes that cannot be seen from here"]
    where = _label(event.device, progress)
    return f"{where}: others came to the device during our attempt: {', '.join(who)}"


def why_waits(task: str, progress: SweepProgress, now: float) -> str:
    """Return why a waiting task waits."""
    view = progress.tasks[task]
    held = f"the sweep is paused by hand ({progress.paused_by})"
    if progress.holder is None:
        rejected = f"; its checkpoint does not hold: {view.rejected}" if view.rejected else ""
        paused = f"; {held}" if progress.paused_by is not None else ""
        return f"no dispatcher runs{rejected}{paused}"
    if view.left_out:
        return "left out by --only"
    if view.note is not None:
        return view.note
    if progress.trouble:
        return f"the sweep is paused: {progress.trouble}"
    if progress.paused_by is not None:
        return held
    if progress.braked:
        return "nothing new is started: the first tasks all failed alike"
    if progress.draining:
        return f"nothing new is started: {progress.drains_for or 'the sweep was interrupted'}"
    if view.waits is not None and view.not_before > now:
        return f"{retry_text(view.waits)}; {view.not_before - now:.0f} s to go"
    if view.waits is not None and view.waits.code in _NOT_ANY_DEVICE:
        return retry_text(replace(view.waits, pause=0.0))
    return _why_no_device(progress, now, progress.device_counts.get(task, 1))


def _why_no_device(progress: SweepProgress, now: float, count: int) -> str:
    """Return why a task waits that any devices would do for, so many at once."""
    usable = [d for d in progress.devices.values() if d.aside_until <= now and not d.drained]
    if not progress.devices:
        return "why is not known: the journal says nothing of the dispatcher that runs"
    if not usable:
        return "every device is set aside, drained or gone"
    if progress.as_many_as_may_be():
        return limit_text(progress.limit)
    if all(d.tasks or not d.idle for d in usable):
        others = [f"{d.label} {d.reason}" for d in usable if not d.tasks]
        if not others:
            return "no idle device: all run other tasks"
        waits = (
            ": waits for its fair share of what other sweeps use" if progress.asks_for_share else ""
        )
        return f"no idle device ({'; '.join(others[:4])}){waits}"
    idle = sum(d.idle and not d.tasks for d in usable)
    if idle < count:
        return f"needs {count} devices at once, and of {len(progress.devices)} only {idle} is idle"
    return "its turn comes next"


def figures_of(summary: Mapping[str, Any]) -> str:
    """Return speed-up, loss and conclusion of a worker's summary; an empty text if it has none."""
    speedup, loss = speedup_and_loss(summary)
    figures = ", ".join(text for text in (speedup, loss and f"loss {loss}") if text)
    return "; ".join(text for text in (figures, conclusion_of(summary)) if text)


def conclusion_of(summary: Mapping[str, Any]) -> str:
    """Return what a worker's summary comes to in its own words, or an empty text."""
    conclusion = summary.get("conclusion")
    return printable(conclusion, " ")[:_LONGEST_CONCLUSION] if isinstance(conclusion, str) else ""


def best_of(summary: Mapping[str, Any]) -> str:
    """Return the name of the best configuration, or an empty text if the worker tells of none."""
    best = summary.get("best")
    return printable(best, " ")[:_LONGEST_NAME] if isinstance(best, str) else ""


def speedup_and_loss(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Return both as texts, empty where there is none; ``?`` where it is open whether the loss is allowed."""
    speedup, loss = as_number(summary.get("speedup")), as_number(summary.get("loss"))
    mark = "?" if summary.get("within") is False else ""
    return (
        f"{speedup:.2f}×{mark}" if speedup is not None else "",
        f"{loss:+.2%}{mark}" if loss is not None else "",
    )
