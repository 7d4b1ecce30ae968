"""Faces of a running sweep: a live screen on a terminal, one plain line per event elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scheduler.output import reader_may_leave
from scheduler.paths import SweepPaths
from scheduler.picture import DONE, FAILED, RUNNING, WAITING, Picture
from scheduler.sentences import clock_time, device_label, sentence
from scheduler.units import format_duration

RECENT = 8  # events shown below the devices
REDRAW = 1.0  # seconds


class PlainFace:
    """One time-stamped line per event."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def event(self, entry: Mapping[str, Any]) -> None:
        """Print the event."""
        text = sentence(entry, self._picture)
        if text is not None:
            day = time.strftime("%Y-%m-%d", time.localtime(entry["at"]))
            with reader_may_leave():
                print(f"{day} {clock_time(entry['at'])} {text}")

    def refresh(self) -> None:
        """Nothing moves by itself; print what a turn of the loop brought."""
        with reader_may_leave():
            sys.stdout.flush()

    def close(self) -> None:
        """Nothing to put back."""


class LiveFace:
    """Devices, what runs on them, progress, time left and the last events, redrawn in place."""

    def __init__(self, picture: Picture, paths: SweepPaths, console: Console) -> None:
        self._picture = picture
        self._paths = paths
        self._recent: deque[Text] = deque(maxlen=RECENT)
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def event(self, entry: Mapping[str, Any]) -> None:
        """Show the event among the last ones."""
        text = sentence(entry, self._picture)
        if text is not None:
            self._recent.append(
                Text(f"{clock_time(entry['at'])} {text}", overflow="ellipsis", no_wrap=True)
            )
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
        return Group(
            *progress_rows(self._picture, now),
            device_table(self._picture, self._paths, now),
            *self._recent,
        )


def progress_rows(picture: Picture, now: float) -> list[Table | Text]:
    """Return the bar over all tasks with counts and the time left, and a line on trouble if there is any."""
    counts, total = picture.counts, len(picture.tasks)
    over = counts[DONE] + counts[FAILED]
    left = picture.seconds_left(now)
    words = [f"{over}/{total} tasks", f"{counts[RUNNING]} running", f"{counts[WAITING]} waiting"]
    if counts[FAILED]:
        words.append(f"{counts[FAILED]} failed")
    words.append("no estimate yet" if left is None else f"about {format_duration(left)} left")
    row = Table.grid(padding=(0, 1))
    row.add_row(ProgressBar(total=max(1, total), completed=over, width=30), " · ".join(words))
    rows: list[Table | Text] = [row]
    if picture.trouble:
        rows.append(Text(f"paused: {picture.trouble}", style="bold red"))
    if picture.draining:
        rows.append(
            Text("draining: nothing new is started; Ctrl-C again stops what runs", style="yellow")
        )
    return rows


def device_table(picture: Picture, paths: SweepPaths, now: float) -> Table:
    """Return a row per device: what runs on it, how far it seems to be, and its log's last line."""
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("device", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("time", no_wrap=True, justify="right")
    table.add_column("", width=12)
    table.add_column("log", no_wrap=True, overflow="ellipsis", ratio=1)
    recent = picture.durations
    typical = sum(recent) / len(recent) if recent else None
    for device in picture.devices.values():
        if device.task is None:
            aside = device.aside_until > now
            why = f"set aside until {clock_time(device.aside_until)}" if aside else device.reason
            table.add_row(device_label(device), Text("–"), "", "", Text(why, style="dim"))
            continue
        view = picture.tasks.get(device.task)
        age = now - view.started if view is not None and view.started else 0.0
        # Without a word from the worker, the mean of the tasks before is the best guess of its length.
        bar = (
            ProgressBar(total=typical, completed=min(age, typical * 0.99), width=12)
            if typical
            else ""
        )
        number = f" (attempt {view.attempts})" if view is not None and view.attempts > 1 else ""
        line = last_line(paths.log(device.task))
        table.add_row(
            device_label(device),
            Text(device.task + number),
            format_duration(age),
            bar,
            Text(line, style="dim"),
        )
    return table


def last_line(path: os.PathLike[str]) -> str:
    """Return the last line of a log that is not empty, fit to be shown on a terminal."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
    except OSError:
        return ""
    line = next((line for line in reversed(lines) if line.strip()), "")
    return "".join(c for c in line.strip() if c.isprintable())


def make_face(picture: Picture, paths: SweepPaths, *, plain: bool) -> PlainFace | LiveFace:
    """Return the live screen if standard output is a terminal (and ``plain`` is not asked for)."""
    if plain or not sys.stdout.isatty():
        return PlainFace(picture)
    return LiveFace(picture, paths, Console())
