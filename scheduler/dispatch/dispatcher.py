"""The dispatcher: the event loop between the core, which decides, and the world, which does.

One turn of the loop:

1. sleep until the executor has something to tell, the writer posts something, a signal comes, or the
   core's next deadline;
2. turn what came into events, give each to the core, carry out the actions it returns: starts first;
3. write the journal, redraw the screen.

Nothing here decides. Nothing here waits for a disk, a driver or a process: that is what the writer (logs and
checkpoints) and the executor (devices and attempts) are for.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from pathlib import Path
from typing import Protocol

from scheduler.config.sweep import Sweep
from scheduler.core import events as ev
from scheduler.core import journal_events as je
from scheduler.core import retry
from scheduler.core.core import Core
from scheduler.core.progress import SweepProgress
from scheduler.devices.fairness.claims import Demand
from scheduler.dispatch.attempts.lifecycle import AttemptLifecycle
from scheduler.dispatch.attempts.outcomes import Outcomes
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.inbox import Inbox
from scheduler.dispatch.notify.notifier import Notifier
from scheduler.dispatch.notify.others import Others
from scheduler.dispatch.notify.records import record_of, start_of
from scheduler.dispatch.notify.tracking import Tracking
from scheduler.dispatch.repairs import told_of_checkpoints
from scheduler.dispatch.standings import Recovered
from scheduler.dispatch.wishes.hours import HourWatch
from scheduler.dispatch.wishes.reload import News, Reloader, follow
from scheduler.dispatch.wishes.sweep_in_use import SweepInUse
from scheduler.dispatch.wishes.watch import WishWatch
from scheduler.dispatch.writer import CheckpointWriter, Readers
from scheduler.executors import base as ex
from scheduler.executors.code_copy import CodeCopy
from scheduler.executors.foresight import Foresight
from scheduler.executors.source_version import SourceReader
from scheduler.storage.attempts_file import supervisor_of
from scheduler.storage.journal import Journal
from scheduler.storage.json_files import read_object
from scheduler.storage.locks import SweepLock
from scheduler.storage.paths import SweepPaths
from scheduler.storage.sweep_record import claim

SNAPSHOT_EVERY = 2000  # events; no view ever reads more
LONGEST_SLEEP = 3600.0  # seconds; what the system can be asked for ends after some weeks


class Display(Protocol):
    """What shows the sweep's progress."""

    def event(self, entry: je.Entry) -> None:
        """Show one journal event."""

    def refresh(self) -> float | None:
        """Redraw what moves by itself; return in how many seconds again, or None for never."""


class Dispatcher:
    """Runs one sweep to its end; the caller has taken its lock and releases it."""

    def __init__(
        self,
        sweep: Sweep,
        paths: SweepPaths,
        lock: SweepLock,
        executor: ex.Executor,
        recovered: Recovered,
        progress: SweepProgress,
        display: Display,
        file: Path,
        copy: CodeCopy | None = None,
    ) -> None:
        self._use = SweepInUse(sweep)
        self._paths = paths
        self._sweep_lock = lock
        self._executor = executor
        self._recovered = recovered
        self._progress = progress
        self._display = display
        self._file = file
        self._clock = Clock()
        self._journal = Journal(paths.journal)
        self._copy = copy
        self._source = SourceReader.of(sweep, paths, os.environ, copy)
        self._inbox = Inbox()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._inbox, selectors.EVENT_READ)
        self._selector.register(executor, selectors.EVENT_READ)
        self._writer = CheckpointWriter(paths.checkpoints, self._inbox.post)
        self._readers = Readers(self._inbox.post)
        self._outcomes = Outcomes(
            self._use, paths, self._clock, self._writer, self._readers, self._handle, self._emit
        )
        self._attempts = AttemptLifecycle(
            self._use, paths, executor, self._source, recovered.standings, self._outcomes,
            self._handle, self._emit, self._must_leave,
        )  # fmt: skip
        self._core = Core(
            recovered.initial_tasks(self._clock, sweep),
            retry.Policy.of(sweep),
            sweep.limits,
            time.monotonic(),
            {device.id: device.total_memory for device in executor.devices},
            [device.id for device in executor.devices if device.is_slot],
            recovered.longest_first(sweep, paths),
            most_sharers=sweep.devices.share.at_most if sweep.devices.share else None,
            groups={d.id: d.node for d in executor.devices if d.node is not None},
            lone=[device.id for device in executor.devices if device.kind == "mig"],
        )
        self._others = Others(
            Notifier(sweep, file, paths, progress, self._inbox, self._emit),
            Tracking(sweep, file, paths, self._inbox, self._emit),
        )
        only = lock.holder.get("only", ())
        reloader = self._reloader = Reloader(
            self._use, file, only, paths, self._clock, self._core, self._inbox,
            self._take_in, self._refuse,
        )  # fmt: skip
        devices = [device.id for device in executor.devices]
        self._wishes = WishWatch(
            self._use, paths, devices, self._inbox, self._handle, self._emit, reloader.ask
        )
        self._hours = HourWatch(self._use, progress, self._handle, self._emit)
        self._emitted_events = 0
        self._exit_code: int | None = None
        self._detached = False

    # --- the loop ------------------------------------------------------------------------------

    def run(self, *, adopt: bool = True) -> int:
        """Run until the sweep is over, or is left; return the exit code."""
        with self._inbox.signals():
            try:
                self._begin()
                self._writer.start()
                for task, record in self._recovered.open_attempts.items():
                    self._attempts.take_over(task, record.started.devices, record, adopt=adopt)
                self._hours.look()
                self._wishes.begin_watching()
                self._executor.foresee(self._foresight())
                self._executor.heed(lambda: Demand(self._use.now.priority, self._core.wanted()))
                self._executor.offer_devices()
                while self._exit_code is None and not self._detached:
                    self._turn()
                self._end()
            except BaseException:
                self._executor.close()  # what runs goes on, for the next dispatcher
                raise
            finally:
                self._journal.close()
        return 130 if self._exit_code is None else self._exit_code

    def _foresight(self) -> Foresight:
        use, devices = self._use, self._executor.devices
        known = (devices, self._paths, self._source)
        return Foresight(self._core, lambda: use.now, lambda: use.tasks, *known)

    def _turn(self) -> None:
        self._handle(ev.Tick())
        self._flush()
        self._selector.select(self._sleep_time())
        self._hours.look()
        for number in self._inbox.read():
            if number == signal.SIGINT:
                self._handle(ev.Interrupt())
            elif number in (signal.SIGTERM, signal.SIGHUP):
                if (why := self._executor.ends_with_us) is not None:
                    self._handle(ev.TimeShort(why, stop=True))
                self._detached = why is None  # what runs goes on, for the next dispatcher
        self._attempts.hear()
        self._inbox.call_all()
        self._reloader.go_on(interrupted=self._progress.draining)

    def _flush(self) -> None:
        if self._journal.begin_anew_if_lost():
            self._journal.add(self._progress.snapshot())
        if self._journal.flush() and self._sweep_lock.is_ours():
            self._outcomes.forget_ended()

    def _sleep_time(self) -> float:
        now = time.monotonic()
        refresh = self._display.refresh() or LONGEST_SLEEP
        times = [self._core.next_wake(), self._executor.deadline(), self._hours.deadline()]
        return max(0.0, min([now + refresh, *(at for at in times if at is not None)]) - now)

    def _handle(self, event: ev.Event) -> None:
        for action in self._core.handle(event, time.monotonic()):
            self._carry_out(action)

    def _emit(self, event: je.JournalEvent) -> None:
        entry = self._journal.add(event)
        self._progress.apply(entry)
        self._display.event(entry)
        self._others.see(entry, self._journal.flush)
        self._emitted_events += 1
        if self._emitted_events % SNAPSHOT_EVERY == 0:
            self._journal.add(self._progress.snapshot())

    # --- beginning and end ---------------------------------------------------------------------

    def _begin(self) -> None:
        self._emit(
            start_of(
                self._use.now,
                self._paths,
                self._executor,
                self._copy.digest if self._copy is not None else None,
            )
        )
        for told in told_of_checkpoints(self._recovered):
            self._emit(told)
        # Their dispatcher died before the journal had their end.
        for task in self._recovered.unrecorded:
            if (done := read_object(self._paths.done(task))) is not None:
                self._outcomes.found(task, done)
        for task in self._recovered.unlisted:
            self._emit(je.UnlistedTask(task, supervisor_of(self._paths.attempts(task))))

    def _end(self) -> None:
        self._executor.close()
        self._wishes.finish()
        self._readers.finish()
        self._writer.finish()
        self._inbox.call_all()  # what the writer finished last
        self._display.refresh()
        self._others.finish(self._exit_code, self._journal.flush)
        self._emit(je.DispatcherEnded(self._exit_code, sorted(self._attempts.running.tasks())))
        self._flush()

    def _take_in(self, news: News) -> None:
        """Go by a changed sweep file from now on."""
        with contextlib.suppress(OSError):  # no room: the next dispatcher records it
            claim(news.whole, self._file, self._paths)
        self._sweep_lock.tell(fingerprint=news.whole.fingerprint, left_out=len(news.sweep.left_out))
        self._use.take_in(news.sweep)
        self._attempts.to_make_way |= news.recovered.standings
        self._emit(news.told)
        self._hours.look()
        for told in told_of_checkpoints(news.recovered):
            self._emit(told)
        self._wishes.reloaded()
        follow(self._progress, news, self._core)
        self._handle(news.event)
        for task in news.begun:
            record = news.recovered.open_attempts[task]
            self._attempts.take_over(task, record.started.devices, record)

    def _refuse(self, refused: je.ReloadRefused) -> None:
        self._emit(refused)
        self._wishes.reloaded()
        self._handle(ev.ReloadRefused())

    # --- actions -------------------------------------------------------------------------------

    def _carry_out(self, action: ev.Action) -> None:
        if isinstance(action, ev.OfTheHolder) and self._must_leave():
            return
        match action:
            case ev.Start():
                if not self._detached:
                    self._attempts.start(action)
            case ev.Stop():
                self._attempts.stop(action.task, action.verdict)
            case ev.WriteCheckpoint():
                self._outcomes.write(action)
            case ev.CheckActivity() | ev.CheckOutput():
                self._attempts.look_at(action)
            case ev.CheckDisk():
                self._outcomes.check_disk()
            case ev.Obeyed():
                self._wishes.obeyed(action.task)
            case ev.Paused():
                self._outcomes.tell_pause(action.why)
            case ev.Finish():
                self._exit_code = action.exit_code
            case _:
                self._emit(record_of(action, self._clock, len(self._attempts.running)))

    def _must_leave(self) -> bool:
        """Say whether another dispatcher has the sweep, since somebody removed the lock file: it judges."""
        if self._sweep_lock.is_ours():
            return False
        if self._exit_code is None:
            self._exit_code = 3
            self._emit(je.SweepLost())
        return True
