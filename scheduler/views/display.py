"""Displays of a running sweep: a live screen on a terminal, one plain line per event elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from scheduler.config.sweep import Sweep
from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.dispatch.dispatcher import Display
from scheduler.storage.paths import SweepPaths
from scheduler.views.messages import clock_time, sentence
from scheduler.views.screen.picture import Picture
from scheduler.views.streams import reader_may_leave

RECENT = 100  # events shown below the devices, where there is room
REDRAW = 1.0  # seconds
# Events that stay on the terminal, above the screen: whoever comes back next day must find them.
LASTING = (
    *(je.CheckpointRejected, je.UnlistedTask, je.AttemptFailed, je.TaskFailed, je.AttemptStopping),
    *(je.OthersCame, je.MoreTaken, je.DeviceSetAside, je.SweepPaused, je.SweepResumed),
    *(je.StopAsked, je.PauseAsked, je.ResumeAsked, je.DrainAsked, je.WishIgnored),
    *(je.SweepReloaded, je.ReloadRefused, je.TaskWithdrawn),
    *(je.SweepBraked, je.NotificationFailed, je.TrackingFailed),
)


class RunDisplay(Display, Protocol):
    """What shows a run from its beginning to its end."""

    def close(self) -> None:
        """Give back what was taken, be it a terminal."""


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
    """The picture of the sweep with its last events, redrawn in place."""

    def __init__(self, progress: SweepProgress, picture: Picture, console: Console) -> None:
        self._progress = progress
        self._picture = picture
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._lasting: deque[Text] = deque(maxlen=RECENT)
        self._drawn = 0.0
        self._size = console.size
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def event(self, entry: je.Entry) -> None:
        """Show the event among the last ones."""
        text = sentence(entry.event, self._progress)
        if text is None:
            return
        line = f"{clock_time(entry.at)} {text}"
        if isinstance(entry.event, LASTING):
            self._lasting.append(Text(line))
            with reader_may_leave():
                self._live.console.print(self._lasting[-1])
        else:
            self._recent.append(line)
        self._drawn = min(self._drawn, time.monotonic() - REDRAW + 0.1)

    def refresh(self) -> float:
        """Redraw once a second, or soon after an event; return in how many seconds again."""
        due = self._drawn + REDRAW - time.monotonic()
        if due > 0:
            return due
        self._drawn = time.monotonic()
        with reader_may_leave():
            self._begin_anew()
            self._live.update(self._render(time.time()), refresh=True)
        return REDRAW

    def _render(self, now: float) -> Group:
        """Return what fits on the terminal, less the line of the cursor."""
        size = self._size
        return self._picture.draw(
            self._progress, now, size.width, size.height - 1, list(self._recent)
        )

    def close(self) -> None:
        """Give the terminal back."""
        with reader_may_leave():
            self._live.stop()

    def _begin_anew(self) -> None:
        """Clear a terminal of another size: it has folded what stood there, and rows of before would stay."""
        if (size := self._live.console.size) != self._size:
            self._size = size
            self._live.console.clear()
            for line in self._lasting:
                self._live.console.print(line)


def make_display(
    progress: SweepProgress, sweep: Sweep, paths: SweepPaths, *, plain: bool
) -> PlainDisplay | LiveDisplay:
    """Return the live screen if standard output is a terminal (and ``plain`` is not asked for)."""
    if plain or not sys.stdout.isatty():
        return PlainDisplay(progress)
    console = Console(highlight=False, markup=False, emoji=False)
    return LiveDisplay(progress, Picture(sweep, paths), console)
