"""Displays of a running sweep: a live screen on a terminal, one plain line per event elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scheduler.config.printable import printable
from scheduler.config.units import format_duration
from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, FAILED, RUNNING, WAITING, DeviceView
from scheduler.storage.paths import SweepPaths
from scheduler.views.logs.ends import last_line
from scheduler.views.messages import clock_time, limit_text, sentence
from scheduler.views.streams import reader_may_leave

RECENT = 8  # events shown below the devices, where there is room
FEWEST = 3  # of them, before devices are left out for want of room
REDRAW = 1.0  # seconds
# Events that stay on the terminal, above the screen: whoever comes back next day must find them.
LASTING = (
    *(je.CheckpointRejected, je.UnlistedTask, je.AttemptFailed, je.TaskFailed, je.AttemptStopping),
    *(je.OthersCame, je.MoreTaken, je.DeviceSetAside, je.SweepPaused, je.SweepResumed),
    *(je.StopAsked, je.PauseAsked, je.ResumeAsked, je.DrainAsked, je.WishIgnored),
    *(je.SweepReloaded, je.ReloadRefused, je.TaskWithdrawn),
    *(je.SweepBraked, je.NotificationFailed),
)


# A device, and what runs there.
_Row = tuple[DeviceView, str | None]


class PlainDisplay:
    """One time-stamped line per event."""

    def __init__(self, progress: SweepProgress) -> None:
        self._progress = progress

    def event(self, entry: je.Entry) -> None:
        """Print the event."""
        text = sentence(entry.event, self._progress)
        if text is not None:
            day = time.strftime("%Y-%m-%d", time.localtime(entry.at))
            with reader_may_leave():
                print(f"{day} {clock_time(entry.at)} {text}")

    def refresh(self) -> None:
        """Nothing moves by itself; print what a turn of the loop brought."""
        with reader_may_leave():
            sys.stdout.flush()

    def close(self) -> None:
        """Do nothing: the terminal is as it was."""


class LiveDisplay:
    """Devices, what runs on them, progress, time left and the last events, redrawn in place."""

    def __init__(self, progress: SweepProgress, paths: SweepPaths, console: Console) -> None:
        self._progress = progress
        self._paths = paths
        self._recent: deque[Text] = deque(maxlen=RECENT)
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def event(self, entry: je.Entry) -> None:
        """Show the event among the last ones."""
        text = sentence(entry.event, self._progress)
        if text is None:
            return
        line = f"{clock_time(entry.at)} {text}"
        if isinstance(entry.event, LASTING):
            with reader_may_leave():
                self._live.console.print(Text(line))
        else:
            self._recent.append(_line(line))
        self._drawn = min(self._drawn, time.monotonic() - REDRAW + 0.1)

    def refresh(self) -> float:
        """Redraw once a second, or soon after an event; return in how many seconds again."""
        due = self._drawn + REDRAW - time.monotonic()
        if due > 0:
            return due
        self._drawn = time.monotonic()
        with reader_may_leave():
            self._live.update(self._render(time.time()), refresh=True)
        return REDRAW

    def close(self) -> None:
        """Give the terminal back."""
        with reader_may_leave():
            self._live.stop()

    def _render(self, now: float) -> Group:
        """Return what fits on the terminal, most important first: progress, some events, the devices."""
        size = self._live.console.size
        top = progress_rows(self._progress, now, size.width)
        height = size.height - len(top) - 2  # the devices' heading, and the line of the cursor
        rows = sum(max(1, len(device.tasks)) for device in self._progress.devices.values())
        events = min(height - 1, max(FEWEST, height - rows))
        recent = list(self._recent)[-events:] if events > 0 else []
        return Group(
            *top, device_table(self._progress, self._paths, now, most=height - len(recent)), *recent
        )


def progress_rows(progress: SweepProgress, now: float, width: int) -> list[Table | Text]:
    """Return the bar over all tasks with counts and the time left, and a line on trouble if there is any.

    Each takes one line of ``width`` columns; the bar gives way to the words.
    """
    counts, total = progress.counts, len(progress.tasks)
    over = counts[DONE] + counts[FAILED]
    words = [
        f"{counts[DONE]}/{total} completed",
        f"{counts[RUNNING]} running",
        f"{counts[WAITING]} waiting",
    ]
    if counts[FAILED]:
        words.append(f"{counts[FAILED]} failed")
    if over < total:
        left = progress.seconds_left(now)
        words.append("no estimate yet" if left is None else f"about {format_duration(left)} left")
    text = _line(" · ".join(words))
    row = Table.grid(padding=(0, 1))
    bar = min(30, width - text.cell_len - 1)
    if bar >= 5:
        row.add_row(ProgressBar(total=max(1, total), completed=over, width=bar), text)
    else:
        row.add_row(text)
    rows: list[Table | Text] = [row]
    if progress.holder is not None and progress.trouble:
        rows.append(_line(f"paused: {progress.trouble}", "bold red"))
    if progress.paused_by is not None:
        by = f"paused by hand ({progress.paused_by})"
        rows.append(_line(f"{by}: nothing new is started; `resume` lets it go on", "yellow"))
    if progress.braked:
        verb = "stops" if progress.holder is not None else "the last run stopped"
        rows.append(_line(printable(f"{verb}: {progress.braked}", " "), "bold red"))
    if progress.holder is not None and progress.limit.devices is not None:
        rows.append(_line(f"devices: {limit_text(progress.limit)}"))
    if progress.holder is not None and progress.draining:
        rows.append(
            _line("draining: nothing new is started; Ctrl-C again stops what runs", "yellow")
        )
    return rows


def _line(text: str, style: str = "") -> Text:
    """Return a text that takes one line, cut where there is no more room."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def device_table(
    progress: SweepProgress, paths: SweepPaths, now: float, most: int | None = None
) -> Table:
    """Return a row per device: what runs on it, how far it seems to be, and its log's last line.

    A device that several share has a row for each. Of more than ``most`` rows, those of devices that run
    nothing are left out first, and a row counts the rest.
    """
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("device", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("time", no_wrap=True, justify="right")
    table.add_column("", width=12)
    table.add_column("log", no_wrap=True, overflow="ellipsis", ratio=1)
    recent = progress.durations
    typical = sum(recent) / len(recent) if recent else None
    rows: list[_Row] = []
    for device in progress.devices.values():
        rows += [(device, task) for task in device.tasks] or [(device, None)]
    for device, task in _chosen(rows, most):
        if task is None:
            aside = device.aside_until > now
            why = f"set aside until {clock_time(device.aside_until)}" if aside else device.reason
            why = "drained by hand" if device.drained else why
            table.add_row(device.label, Text("–"), "", "", Text(why, style="dim"))
            continue
        view = progress.tasks.get(task)
        age = now - view.started if view is not None and view.started else 0.0
        # The scheduler knows nothing of a task's parts: the mean of the tasks before is its best guess.
        bar = (
            ProgressBar(total=typical, completed=min(age, typical * 0.99), width=12)
            if typical
            else ""
        )
        number = f" (attempt {view.attempts})" if view is not None and view.attempts > 1 else ""
        number += "; drained by hand" if device.drained else ""
        line = last_line(paths.log(task))
        table.add_row(
            device.label + device.share_of(task),
            Text(task + number),
            format_duration(age),
            bar,
            Text(line, style="dim"),
        )
    left_out = len(rows) - table.row_count
    if left_out:
        what = "more devices" if len(rows) == len(progress.devices) else "more, idle or running"
        table.add_row("…", Text(f"{left_out} {what}", style="dim"), "", "", "")
    return table


def _chosen(rows: Sequence[_Row], most: int | None) -> Sequence[_Row]:
    if most is None or len(rows) <= most:
        return rows
    busy_first = sorted(range(len(rows)), key=lambda number: rows[number][1] is None)
    # The last row counts the others.
    return [rows[number] for number in sorted(busy_first[: max(0, most - 1)])]


def make_display(
    progress: SweepProgress, paths: SweepPaths, *, plain: bool
) -> PlainDisplay | LiveDisplay:
    """Return the live screen if standard output is a terminal (and ``plain`` is not asked for)."""
    if plain or not sys.stdout.isatty():
        return PlainDisplay(progress)
    return LiveDisplay(progress, paths, Console(highlight=False, markup=False, emoji=False))
