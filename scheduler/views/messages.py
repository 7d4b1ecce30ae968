"""Journal events as sentences for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from scheduler.config.units import format_duration, format_size
from scheduler.core.progress import DeviceView, SweepProgress

Entry = Mapping[str, Any]


def clock_time(at: float) -> str:
    """Return a time of day as hours, minutes and seconds, local time."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(at))
    except (ValueError, OverflowError, OSError):  # of a damaged line in the journal
        return "?"


def sentence(entry: Entry, progress: SweepProgress) -> str | None:
    """Return what an event says, in one line, or None if people need not hear of it."""
    teller = _TELLERS.get(str(entry.get("event")))
    text = teller(entry, progress) if teller else None
    # A path may hold a line end, a cause an escape sequence.
    return text and "".join(c if c.isprintable() else " " for c in text)


def _on(entry: Entry, progress: SweepProgress) -> str:
    name = str(entry.get("device"))
    return (progress.devices.get(name) or DeviceView(index=name)).label


def _started(entry: Entry, progress: SweepProgress) -> str:
    return f"{entry['task']}: attempt {entry['attempt']} started on {_on(entry, progress)}"


def _completed(entry: Entry, progress: SweepProgress) -> str:
    figures = figures_of(entry.get("summary") or {})
    took = format_duration(entry["seconds"])
    return f"{entry['task']}: completed in {took}{', ' + figures if figures else ''}"


def figures_of(summary: Mapping[str, Any]) -> str:
    """Return speed-up and loss of a worker's summary, or an empty text if it has none."""
    speedup, loss = speedup_and_loss(summary)
    return ", ".join(text for text in (speedup, loss and f"loss {loss}") if text)


def speedup_and_loss(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Return both as texts, empty where there is none; ``?`` where it is open whether the loss is allowed."""
    speedup, loss = summary.get("speedup"), summary.get("loss")
    mark = "?" if summary.get("within") is False else ""
    return (
        f"{speedup:.2f}×{mark}" if isinstance(speedup, int | float) else "",
        f"{loss:+.2%}{mark}" if isinstance(loss, int | float) else "",
    )


def _failed_attempt(entry: Entry, progress: SweepProgress) -> str:
    attempt = f"attempt {entry['attempt']} on {_on(entry, progress)}"
    return f"{entry['task']}: {attempt}: {entry['verdict']}: {entry['cause']}"


def _foreign(entry: Entry, progress: SweepProgress) -> str:
    who = [f"{p.get('pid')} ({p.get('name')}, user {p.get('user')})" for p in entry["processes"]]
    if not who:
        who = [
            f"{format_size(entry['hidden_memory'])} held by processes that cannot be seen from here"
        ]
    return f"{_on(entry, progress)}: others came to the device during our attempt: {', '.join(who)}"


def _ended(entry: Entry, progress: SweepProgress) -> str | None:
    left = entry.get("left_running") or []
    if entry.get("exit_code") is None:
        return f"dispatcher leaves; {len(left)} attempt(s) go on and will be taken over by the same command"
    return None


_TELLERS: dict[str, Callable[[Entry, SweepProgress], str | None]] = {
    "dispatcher_started": lambda e, p: f"{e['tasks']} tasks; {e['where']}",
    "checkpoint_rejected": lambda e, p: (
        f"{e['task']}: its checkpoint does not hold: {e['why']}; kept as {e['kept_as']}, runs again"
    ),
    "sweep_lost": lambda e, p: (
        "another dispatcher has the sweep, for its lock file was removed; this one leaves"
    ),
    "stranger": lambda e, p: f"{e['task']}: still runs, but is no longer in the sweep; left alone",
    "attempt_started": _started,
    "attempt_adopted": lambda e, p: (
        f"{e['task']}: attempt {e['attempt']} still runs on {_on(e, p)}; taken over"
    ),
    "attempt_failed": _failed_attempt,
    "waits": lambda e, p: f"{e['task']}: will be tried again: {e['why']}",
    "completed": _completed,
    "failed": lambda e, p: f"{e['task']}: failed for good: {e['why']}",
    "stopping": lambda e, p: f"{e['task']}: stopping attempt {e['attempt']}: {e['why']}",
    "device": lambda e, p: None if _on(e, p).startswith("cpu") else f"{_on(e, p)}: {e['reason']}",
    "foreign_process": _foreign,
    "set_aside": lambda e, p: f"{_on(e, p)}: set aside until {clock_time(e['until'])}: {e['why']}",
    "paused": lambda e, p: f"paused: {e['why']}; goes on by itself when files can be written again",
    "resumed": lambda e, p: "goes on: files can be written again",
    "draining": lambda e, p: (
        f"interrupted: nothing new is started, {e['running']} running attempt(s) may end; "
        "Ctrl-C again stops them"
    ),
    "dispatcher_ended": _ended,
}
