"""Runs the command of ``notify``, one run after the other, in a thread that holds nothing up."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from scheduler.config.placeholders import expand_home
from scheduler.config.sweep import NotifySettings, Sweep
from scheduler.core import journal_events as je
from scheduler.core.core import OUT_OF_TIME
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, ENDED, FAILED, RUNNING, WAITING
from scheduler.dispatch.inbox import Inbox
from scheduler.dispatch.notify.command import run_command
from scheduler.dispatch.notify.occasions import News, news_in, news_of_end
from scheduler.executors.worker_process import words_to_start
from scheduler.storage.paths import SweepPaths

# The exit codes of a dispatcher whose user knows, or whose time is over: it waits for nothing.
LEFT_EARLY = (130, OUT_OF_TIME)


class Notifier:
    """Sees the journal's events and has people told of those that the sweep file names.

    That a run is about to begin stands in the journal before it does: a dispatcher that is killed meanwhile,
    and the next one, tell nothing twice. (Where the journal finds no room they may.)
    """

    def __init__(
        self,
        sweep: Sweep,
        file: Path,
        paths: SweepPaths,
        progress: SweepProgress,
        inbox: Inbox,
        emit: Callable[[je.JournalEvent], None],
    ) -> None:
        """Begin with nothing to tell.

        Args:
            sweep: whose ``notify`` section counts.
            file: the sweep file.
            paths: the sweep's files.
            progress: kept up to date by others, before `see` is called.
            inbox: where the thread posts how a run went, and signals come.
            emit: adds an event to the journal; called in the dispatcher's loop.
        """
        self._settings = sweep.notify
        self._facts = _facts_of(sweep, file, paths)
        self._log = paths.notify_log
        self._progress = progress
        self._inbox = inbox
        self._emit = emit
        # Runs that were asked for and are not over.
        self._under_way = 0
        self._queue: queue.SimpleQueue[tuple[News, Mapping[str, str]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def see(self, entry: je.Entry, flush: Callable[[], object]) -> None:
        """Take an event of the journal; ``flush`` writes what was added to it."""
        if self._settings is not None and (news := news_in(entry, self._progress)) is not None:
            self._tell(self._settings, news, flush)

    def finish(self, exit_code: int | None, flush: Callable[[], object]) -> None:
        """Tell of the end, and wait until all is told, or a signal comes."""
        news = news_of_end(exit_code, self._progress)
        if self._settings is not None and news is not None:
            self._tell(self._settings, news, flush, exit_code)
        if exit_code in LEFT_EARLY:
            self._end_run()
        self._inbox.hear_while(lambda: self._under_way, self._end_run)

    def _end_run(self) -> None:
        os.eventfd_write(self._stop, 1)

    def _tell(
        self,
        settings: NotifySettings,
        news: News,
        flush: Callable[[], object],
        exit_code: int | None = None,
    ) -> None:
        if news.occasion not in settings.on:
            return
        self._emit(je.Notified(news.occasion))
        flush()
        self._under_way += 1
        self._queue.put((news, self._environment(news, exit_code)))
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, args=(settings,), name="notifier", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError as error:  # there may be no more threads
                self._thread = None
                self._over(self._queue.get()[0], f"cannot be started: {error}")

    def _environment(self, news: News, exit_code: int | None) -> dict[str, str]:
        counts = self._progress.counts
        facts = {
            "SWEEP_EVENT": news.occasion,
            "SWEEP_REASON": news.reason,
            "SWEEP_TASK": news.task,
            "SWEEP_EXIT_CODE": "" if exit_code is None else str(exit_code),
            "SWEEP_TASKS": str(len(self._progress.tasks)),
            "SWEEP_DONE": str(counts[DONE]),
            "SWEEP_FAILED": str(counts[FAILED]),
            "SWEEP_RUNNING": str(counts[RUNNING] + counts[ENDED]),
            "SWEEP_WAITING": str(counts[WAITING]),
        }
        return {**os.environ, **self._facts, **facts}

    def _run(self, settings: NotifySettings) -> None:
        command = [expand_home(word) for word in settings.command]
        while True:
            news, environment = self._queue.get()
            words = words_to_start(command, environment.get("PATH"))
            if words is None:
                why: str | None = f"cannot be started: there is no program {command[0]!r}"
            else:
                why = run_command(
                    words, environment, self._log, settings.timeout, self._stop, "notify.timeout"
                )
            self._inbox.post(partial(self._over, news, why))

    def _over(self, news: News, why: str | None) -> None:
        self._under_way -= 1
        if why is not None:
            self._emit(je.NotificationFailed(news.occasion, why))


def _facts_of(sweep: Sweep, file: Path, paths: SweepPaths) -> dict[str, str]:
    """Return the variables that are the same in every run."""
    return {
        "SWEEP_NAME": sweep.name,
        "SWEEP_FILE": str(file.absolute()),
        "SWEEP_CHECKPOINTS": str(paths.checkpoints.absolute()),
        "SWEEP_LOGS": str(paths.logs.absolute()),
    }
