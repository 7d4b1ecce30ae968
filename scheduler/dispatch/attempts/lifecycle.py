"""Attempts from start to end: the dispatcher's side of what the executor does.

It has attempts started, adopted and stopped, hears what the executor tells of them, and hands those that
ended to be judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from scheduler.core import events as ev
from scheduler.core import journal_events as je
from scheduler.core import retry
from scheduler.core.verdict import SWEEP_CHANGED, Kind, Verdict
from scheduler.dispatch.attempts.outcomes import Outcomes
from scheduler.dispatch.attempts.running import RunningAttempts
from scheduler.dispatch.repairs import make_way
from scheduler.dispatch.standings import Standing
from scheduler.dispatch.wishes.sweep_in_use import SweepInUse
from scheduler.executors import base as ex
from scheduler.executors.request import build_request
from scheduler.executors.source_version import SourceReader
from scheduler.storage.attempts_file import AttemptRecord, EndLine, ForeignLine
from scheduler.storage.checkpoints import why_not_there
from scheduler.storage.paths import SweepPaths, size_of


class AttemptLifecycle:
    """What happens to attempts between the core's wish and their end; ``running`` has those under way."""

    def __init__(
        self,
        use: SweepInUse,
        paths: SweepPaths,
        executor: ex.Executor,
        source: SourceReader,
        standings: Mapping[str, Standing],
        outcomes: Outcomes,
        handle: Callable[[ev.Event], None],
        emit: Callable[[je.JournalEvent], None],
        must_leave: Callable[[], bool],
    ) -> None:
        """Begin without attempts.

        Args:
            use: the sweep.
            paths: of its files.
            executor: runs the attempts.
            source: what code they run.
            standings: how each task stood at the start.
            outcomes: judges attempts that ended.
            handle: has the core decide on an event.
            emit: takes what the journal tells.
            must_leave: says whether another dispatcher has the sweep, and judges its attempts.
        """
        self.running = RunningAttempts(paths)
        # What they left is in the way of tasks that start anew; of each only once.
        self.to_make_way = dict(standings)
        self._use = use
        self._paths = paths
        self._executor = executor
        self._devices = {device.id: device for device in executor.devices}
        self._source = source
        self._outcomes = outcomes
        self._handle = handle
        self._emit = emit
        self._must_leave = must_leave
        # Attempts that ended in this turn of the loop, to be judged when their devices have work again.
        self._unjudged: list[tuple[str, AttemptRecord]] = []
        # Of the devices as they were last offered, in bytes.
        self._free_memory: dict[str, int | None] = {}

    def take_over(
        self,
        task: str,
        devices: tuple[str, ...],
        known: AttemptRecord | None = None,
        *,
        adopt: bool = True,
    ) -> None:
        """Have an attempt of another dispatcher adopted, or judged; ``known``: should its file be gone."""
        record = self.running.last_on_file(task, known)
        if not self._executor.adopt(task, devices, record) or record is None:
            self.running.vanish(task, devices, record)
            return
        at = record.started.started
        attempt = self.running.adopt(task, devices, record)
        started = time.time() if at is None else at
        share = record.started.share
        self._emit(je.AttemptAdopted(task, attempt.number, devices, started, share))
        if not adopt:
            self.stop(task, Verdict(Kind.STOPPED, "not adopted (--no-adopt)"))
        elif record.started.digest != self._use.digest(task):
            self.stop(task, Verdict(Kind.STOPPED, SWEEP_CHANGED))
        elif (why := why_not_there(devices[0], self._use.now.runs_on)) is not None:
            self.stop(task, Verdict(Kind.STOPPED, why))

    def look_at(self, action: ev.CheckActivity | ev.CheckOutput) -> None:
        """Tell the core when an attempt last did something, or how much it has written."""
        task = action.task
        if self.running.get(task) is None:
            return
        if isinstance(action, ev.CheckActivity):
            self._handle(ev.Activity(task, self._executor.last_sign_of_life(task)))
        else:
            log, results = self._paths.log(task), self._paths.results(task)
            self._handle(ev.Output(task, size_of(log), size_of(results)))

    def start(self, action: ev.Start) -> None:
        """Have an attempt started, after what is in its way is gone."""
        task, devices = self._use.tasks[action.task], [self._devices[d] for d in action.devices]
        free, use = self._free_memory, self._use.now
        try:
            for told in make_way(task, self.to_make_way.get(task.id), use, self._paths):
                self._emit(told)
            self.to_make_way.pop(task.id, None)
        except OSError as error:
            self._handle(ev.StartRefused(task.id))
            self._outcomes.files_in_trouble(error)  # first, so that nothing is started now
            for device in devices if action.alone else ():  # still idle; one that is shared is told
                total, known = device.total_memory, free.get(device.id)
                self._handle(ev.DeviceIdle(device.id, known, total))
            return
        request = build_request(
            use,
            task,
            action,
            devices,
            self._paths,
            free_memory=free,
            source=self._source,
            scratch=self._executor.scratch,
        )
        # Read after the size that the executor will compare; most tasks were never tried.
        last = self.running.last_on_file(task.id) if request.attempts_size else None
        if last is not None and last.verdict is None and last.started.attempt >= action.number:
            self.take_over(task.id, action.devices)  # the last order of a dispatcher that died
            return
        self.running.request(request)
        self._executor.start(request)

    def stop(self, task: str, verdict: Verdict) -> None:
        """Record why, then stop: whoever judges the attempt must know, should this process die now."""
        attempt = self.running.get(task)
        if attempt is None:
            return
        self.running.stop(attempt, verdict)
        self._emit(je.AttemptStopping(task, attempt.number, verdict.cause))
        self._executor.stop(task)

    # --- what the executor tells ---------------------------------------------------------------

    def hear(self) -> None:
        """Take in what the executor has to tell."""
        for event in self._executor.events():
            self._heard(event)
        # Only now: the devices of those that ended have work again, while their logs are read.
        for task, record in self._unjudged:
            self._outcomes.judge(task, record)
        self._unjudged.clear()

    def _heard(self, event: ex.ExecutorEvent) -> None:
        match event:
            case ev.DeviceIdle():
                self._free_memory[event.device] = event.free_memory
                self._handle(event)
            case ev.DeviceBusy() | ev.DeviceGone() | ev.Queued() | ev.Began() | ev.TimeShort():
                self._handle(event)
            case je.DeviceState() | je.MoreTaken() | je.ShareAsked() | je.Preloaded():
                self._emit(event)
            case je.OthersCame():
                self._others_came(event)
            case ex.Started():
                self._started(event)
            case ex.Ended():
                self._over(event.task, event)
            case ex.Lost():
                self._over(event.task, None)
            case ex.Refused():
                self._refused(event)
            case ex.Failed():
                self.running.withdraw(event.task)
                self._handle(ev.StartRefused(event.task))
                self._outcomes.files_in_trouble(event.error)

    def _others_came(self, event: je.OthersCame) -> None:
        """Record that others came to a device of attempts of ours, and who."""
        attempts = self.running.on(event.device)
        if not attempts:  # its supervisor was killed: these are its own processes, being ended
            return
        line = ForeignLine(event.processes, event.hidden_memory)
        for attempt in attempts:
            self.running.others_came(attempt, line)
        self._emit(event)

    def _started(self, event: ex.Started) -> None:
        attempt = self.running.begin(event)
        seat = (event.task, attempt.number, attempt.devices)
        share = attempt.record.started.share
        self._emit(je.AttemptStarted(*seat, event.at, event.pid, share, event.launch))

    def _refused(self, event: ex.Refused) -> None:
        attempt = self.running.withdraw(event.task)
        match event.reason:
            case ex.Refusal.DEVICE_HELD:
                self._handle(ev.StartRefused(event.task))
            case ex.Refusal.COMPLETED:
                self._outcomes.found_done(event.task, attempt.devices)
            case ex.Refusal.RUNNING | ex.Refusal.CHANGED:  # a dispatcher that died got there first
                self.take_over(event.task, attempt.devices)

    def _over(self, task: str, told: ex.Ended | None) -> None:
        """An attempt is over, with an end that is known or not: offer its device, then read its log."""
        if self._must_leave():
            return
        devices, record = self.running.end(task, None if told is None else told.end)
        if record is None:
            verdict = Verdict(Kind.NOT_STARTED, "its supervisor ended before the attempt began")
            past = retry.JudgedAttempt(verdict, devices, time.monotonic())
            self._handle(ev.AttemptJudged(task, past))
            return
        if told is not None:
            record.least_free = told.least_free
            record.taken, record.crowded = told.taken, told.crowded
        number, ended = record.started.attempt, record.ended or EndLine()
        at = time.time() if ended.ended is None else ended.ended
        self._emit(
            je.AttemptEnded(task, number, devices, at, ended.code, ended.signal, ended.leftovers)
        )
        self._handle(ev.AttemptExited(task))
        self._unjudged.append((task, record))
