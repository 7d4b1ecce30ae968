"""Has new measurements sent to the tracker of ``track``, by a command of its own that holds nothing up."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from scheduler.config.sweep import Sweep, TrackSettings
from scheduler.core import journal_events as je
from scheduler.dispatch.inbox import Inbox
from scheduler.dispatch.notify.command import run_command
from scheduler.dispatch.notify.notifier import LEFT_EARLY
from scheduler.storage.paths import SweepPaths

# Seconds from one run's end to the next one's start: a tracker's package alone takes seconds to load.
PAUSE = 30.0
_PROGRAM = Path(__file__).parents[2] / "__main__.py"


class Tracking:
    """Runs ``python -m scheduler track`` when tasks have ended and when the sweep is over, one at a time.

    What a run did not send, the next one sends: it goes by what is on disk.
    """

    def __init__(
        self,
        sweep: Sweep,
        file: Path,
        paths: SweepPaths,
        inbox: Inbox,
        emit: Callable[[je.JournalEvent], None],
    ) -> None:
        """Begin with nothing to send.

        Args:
            sweep: whose ``track`` section counts.
            file: the sweep file.
            paths: the sweep's files.
            inbox: where the thread posts how a run went, and signals come.
            emit: adds an event to the journal; called in the dispatcher's loop.
        """
        self._settings = sweep.track
        root = str(paths.root.absolute())
        self._words = [sys.executable, str(_PROGRAM), "track", str(file.absolute()), "--root", root]
        self._log = paths.track_log
        self._inbox = inbox
        self._emit = emit
        self._thread: threading.Thread | None = None
        self._asked = threading.Event()
        self._closing = threading.Event()
        self._left = False  # told to leave: nothing more is started
        self._over = False  # the thread has ended
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._said: str | None = None

    def see(self, entry: je.Entry) -> None:
        """Take an event of the journal."""
        if self._settings is not None and isinstance(entry.event, je.TaskCompleted | je.TaskFailed):
            self._ask(self._settings)

    def finish(self, exit_code: int | None) -> None:
        """Send what is left, and wait for that, unless the dispatcher was told to leave."""
        if self._settings is None:
            return
        self._closing.set()
        if exit_code in (None, *LEFT_EARLY):
            self._leave()
        else:
            self._ask(self._settings)
        self._asked.set()
        if self._thread is not None:
            self._inbox.hear_while(lambda: not self._over, self._leave)

    def _leave(self) -> None:
        self._left = True
        os.eventfd_write(self._stop, 1)

    def _ask(self, settings: TrackSettings) -> None:
        self._asked.set()
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, args=(settings,), name="tracking", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # there may be no more threads
            self._heard(f"cannot be started: {error}", over=False)
        else:
            self._thread = thread

    def _run(self, settings: TrackSettings) -> None:
        over, environment = False, dict(os.environ)
        while not over:
            self._asked.wait()
            self._asked.clear()  # first: what is asked for from here on is another run's
            over = self._closing.is_set()
            why = None
            if not self._left:
                why = run_command(
                    self._words,
                    environment,
                    self._log,
                    settings.timeout,
                    self._stop,
                    "track.timeout",
                )
            self._inbox.post(partial(self._heard, why, over=over))
            self._closing.wait(PAUSE)

    def _heard(self, why: str | None, *, over: bool) -> None:
        self._over = over
        if why is not None and why != self._said:  # a tracker that stays down is said once
            self._emit(je.TrackingFailed(why))
        self._said = why
