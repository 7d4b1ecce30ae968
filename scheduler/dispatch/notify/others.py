"""Who hears of a run beside its user: the command of ``notify``, and the tracker of ``track``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scheduler.core import journal_events as je
from scheduler.dispatch.notify.notifier import Notifier
from scheduler.dispatch.notify.tracking import Tracking


@dataclass(frozen=True, slots=True)
class Others:
    """Shows both what the journal tells."""

    notifier: Notifier
    tracking: Tracking

    def see(self, entry: je.Entry, flush: Callable[[], object]) -> None:
        """Take an event of the journal; ``flush`` writes what was added to it."""
        self.notifier.see(entry, flush)
        self.tracking.see(entry)

    def finish(self, exit_code: int | None, flush: Callable[[], object]) -> None:
        """Tell of the end, and wait until all is told, each for its limited time, or until a signal comes."""
        self.notifier.finish(exit_code, flush)
        self.tracking.finish(exit_code)
