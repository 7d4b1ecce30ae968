"""Who hears of a run beside its user: the command of ``notify``, and the tracker of ``track``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scheduler.config.sweep import Sweep
from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.dispatch.inbox import Inbox
from scheduler.dispatch.notify.notifier import Notifier
from scheduler.dispatch.notify.tracking import Tracking
from scheduler.storage.paths import SweepPaths


class Others:
    """Shows both what the journal tells."""

    def __init__(
        self,
        sweep: Sweep,
        file: Path,
        paths: SweepPaths,
        progress: SweepProgress,
        inbox: Inbox,
        emit: Callable[[je.JournalEvent], None],
    ) -> None:
        self._notifier = Notifier(sweep, file, paths, progress, inbox, emit)
        self._tracking = Tracking(sweep, file, paths, inbox, emit)

    def see(self, entry: je.Entry, flush: Callable[[], object]) -> None:
        """Take an event of the journal; ``flush`` writes what was added to it."""
        self._notifier.see(entry, flush)
        self._tracking.see(entry)

    def finish(self, exit_code: int | None, flush: Callable[[], object]) -> None:
        """Tell of the end, and wait until all is told, each for its limited time, or until a signal comes."""
        self._notifier.finish(exit_code, flush)
        self._tracking.finish(exit_code)
