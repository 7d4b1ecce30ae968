"""The dispatcher: the event loop between the core, which decides, and the world, which does.

One turn of the loop:

1. sleep until a supervisor answers, the writer or the device watch posts something, a signal comes, or the
   core's next deadline;
2. turn what came into events, give each to the core, carry out the actions it returns: starts first;
3. write the journal, redraw the screen.

Nothing here decides. Nothing here waits for a disk or a driver: that is what the writer (logs and
checkpoints) and the device watch (NVML) have threads for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from scheduler.config.sweep import Sweep
from scheduler.core import events as ev
from scheduler.core import retry
from scheduler.core.core import Core
from scheduler.core.progress import SweepProgress
from scheduler.core.verdict import SWEEP_CHANGED, Kind, Verdict
from scheduler.devices.lease import LeaseHeld
from scheduler.devices.pool import DevicePool, describe
from scheduler.devices.processes import start_ticks
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.judgement import attempts_of
from scheduler.dispatch.liveness import Life
from scheduler.dispatch.outcomes import Outcomes
from scheduler.dispatch.recovery import Recovered
from scheduler.dispatch.writer import CheckpointWriter
from scheduler.executors.local.handles import AdoptedSupervisor, SupervisorHandle
from scheduler.executors.local.orphans import end_orphans
from scheduler.executors.local.pool import SupervisorPool
from scheduler.executors.request import build_order
from scheduler.storage.atomic import append_line
from scheduler.storage.attempts_file import (
    AttemptRecord,
    EndLine,
    ForeignLine,
    StartLine,
    StopLine,
)
from scheduler.storage.checkpoints import set_aside, why_not_done
from scheduler.storage.journal import SNAPSHOT, Journal
from scheduler.storage.json_files import read_object
from scheduler.storage.paths import SweepPaths
from scheduler.storage.sweep_lock import SweepLock

SNAPSHOT_EVERY = 2000  # events; no view ever reads more
LONGEST_SLEEP = 3600.0  # seconds; what the system can be asked for ends after some weeks


class Display(Protocol):
    """What shows the sweep's progress."""

    def event(self, entry: Mapping[str, Any]) -> None:
        """Show one journal event."""

    def refresh(self) -> float | None:
        """Redraw what moves by itself; return in how many seconds again, or None for never."""


@dataclass(slots=True)
class RunningAttempt:
    """An attempt under way, as the dispatcher sees it."""

    task: str
    number: int
    device: str
    supervisor: SupervisorHandle | AdoptedSupervisor
    record: AttemptRecord  # as its file should have it, should that be removed
    life: Life
    begun: bool  # the supervisor has recorded it


class Dispatcher:
    """Runs one sweep to its end; the caller has taken its lock and releases it."""

    def __init__(
        self,
        sweep: Sweep,
        paths: SweepPaths,
        lock: SweepLock,
        devices: DevicePool,
        progress: SweepProgress,
        display: Display,
    ) -> None:
        self._sweep = sweep
        self._paths = paths
        self._sweep_lock = lock
        self._devices = devices
        self._progress = progress
        self._display = display
        self._clock = Clock()
        self._journal = Journal(paths.journal)
        self._tasks = {task.id: task for task in sweep.tasks}
        self._attempts: dict[str, RunningAttempt] = {}  # by task
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        environments = (sweep.env, os.environ)
        self._supervisors = SupervisorPool(
            devices,
            environments,
            paths.supervisors,
            self._selector,
            heard=self._answered,
            lost=self._supervisor_died,
        )
        self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._writer = CheckpointWriter(paths.checkpoints, self._post)
        self._outcomes = Outcomes(sweep, paths, self._clock, self._writer, self._handle, self._emit)
        self._emitted = 0  # events
        self._exit_code: int | None = None
        self._detached = False
        self._core: Core

    # --- the loop ------------------------------------------------------------------------------

    def run(self, recovered: Recovered, *, adopt: bool = True) -> int:
        """Run until the sweep is over, or is left; return the exit code."""
        sizes = [self._sweep.args[name] for name in self._sweep.retries.on_oom]
        policy = retry.Policy(
            self._sweep.retries, max((size.bit_length() - 1 for size in sizes), default=0)
        )
        sizes_of_devices = {device.id: device.total_memory for device in self._devices.all}
        tasks = recovered.initial_tasks(self._clock)
        self._core = Core(tasks, policy, self._sweep.limits, time.monotonic(), sizes_of_devices)
        self._selector.register(self._wake_out, selectors.EVENT_READ, self._drain_wakes)
        with self._signals():
            try:
                self._begin(recovered)
                self._writer.start()
                self._devices.connect(self._post, self._handle, self._emit, self._others_came)
                for task, record in recovered.open_attempts.items():
                    self._take_over(task, record.started.device, record, adopt=adopt)
                self._devices.start()
                while self._exit_code is None and not self._detached:
                    self._turn()
                self._end()
            finally:
                self._journal.close()
        return 130 if self._exit_code is None else self._exit_code

    def _turn(self) -> None:
        self._handle(ev.Tick())
        self._supervisors.release_idle()
        self._flush()
        for key, _ in self._selector.select(self._sleep_time()):
            key.data()
        while not self._inbox.empty():
            self._inbox.get()()

    def _flush(self) -> None:
        if self._journal.begin_anew_if_removed():
            self._journal.add(SNAPSHOT, **self._progress.snapshot())
        if self._journal.flush():
            self._outcomes.forget_ended()

    def _sleep_time(self) -> float:
        now = time.monotonic()
        times = [now + LONGEST_SLEEP, self._core.next_wake(), self._supervisors.next_release()]
        refresh = self._display.refresh()
        times.append(None if refresh is None else now + refresh)
        return max(0.0, min(at for at in times if at is not None) - now)

    def _post(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called in the loop; safe from any thread."""
        self._inbox.put(callback)
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake_in, b"\0")

    def _drain_wakes(self) -> None:
        for number in os.read(self._wake_out, 4096):
            if number == signal.SIGINT:
                self._handle(ev.Interrupt())
            elif number in (signal.SIGTERM, signal.SIGHUP):
                self._detached = True

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Route signals to the wake pipe, as their own numbers."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if (
            signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        ):  # as under nohup, where it goes on
            numbers.append(signal.SIGHUP)
        old = {number: signal.signal(number, lambda *_: None) for number in numbers}
        old_fd = signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)

    def _handle(self, event: ev.Event) -> None:
        for action in self._core.handle(event, time.monotonic()):
            self._carry_out(action)

    def _emit(self, event: str, **facts: Any) -> None:
        entry = self._journal.add(event, **facts)
        self._progress.apply(entry)
        self._display.event(entry)
        self._emitted += 1
        if self._emitted % SNAPSHOT_EVERY == 0:
            self._journal.add(SNAPSHOT, **self._progress.snapshot())

    # --- beginning and end ---------------------------------------------------------------------

    def _begin(self, recovered: Recovered) -> None:
        self._emit(
            "dispatcher_started",
            pid=os.getpid(),
            start_ticks=start_ticks(os.getpid()),
            tasks=len(self._tasks),
            devices=describe(self._devices.all),
            where=self._devices.where,
        )
        for task, rejected in recovered.rejected:
            kept = rejected.path.name
            self._emit("checkpoint_rejected", task=task, why=rejected.why, kept_as=kept)
        for task in recovered.unrecorded:  # its dispatcher died before the journal had its end
            if (done := read_object(self._paths.done(task))) is not None:
                self._outcomes.found(task, done)
        for task in recovered.unlisted:
            self._emit("stranger", task=task)

    def _take_over(
        self, task: str, device: str, known: AttemptRecord | None = None, *, adopt: bool = True
    ) -> None:
        """See to an attempt that has no supervisor of ours (any more): adopt it, or judge what it left.

        Args:
            known: what is known of it, should its file have been removed.
        """
        record = self._last_record(task, known)
        if record is None:  # a supervisor has the file and has not written to it yet
            self._await_orphans(task, device, None)
            return
        if record.ended is not None:
            # Later: the core may wish to stop an attempt that is yet to be adopted.
            self._post(partial(self._ended_unseen, task, device, record))
            return
        supervisor = AdoptedSupervisor.find(record)
        if supervisor is None:
            self._await_orphans(task, device, record)
            return
        number, at = record.started.attempt, record.started.started
        started = time.time() if at is None else at
        life = Life(self._paths.log(task), supervisor.pid)
        self._attempts[task] = RunningAttempt(
            task, number, device, supervisor, record, life, begun=True
        )
        self._devices.occupy(device, supervisor.pid, visited=record.foreign is not None)
        self._selector.register(
            supervisor, selectors.EVENT_READ, partial(self._adopted_ended, task)
        )
        self._emit("attempt_adopted", task=task, attempt=number, device=device, started=started)
        if not adopt:
            self._stop(task, Verdict(Kind.STOPPED, "not adopted (--no-adopt)"))
        elif record.started.digest != self._sweep.digest(self._tasks[task]):
            self._stop(task, Verdict(Kind.STOPPED, SWEEP_CHANGED))

    def _adopted_ended(self, task: str) -> None:
        attempt = self._attempts.pop(task)
        self._selector.unregister(attempt.supervisor)
        attempt.supervisor.release()
        self._take_over(task, attempt.device, attempt.record)

    def _await_orphans(self, task: str, device: str, known: AttemptRecord | None) -> None:
        """Judge a task's attempt, whose supervisor is dead, when nothing of it lives any more."""
        token = known.started.token if known is not None else None

        def wait() -> None:
            end_orphans(self._paths.attempts(task), token)
            self._post(partial(self._ended_unseen, task, device, known))

        threading.Thread(target=wait, name=f"end of {task}", daemon=True).start()

    def _ended_unseen(self, task: str, device: str, known: AttemptRecord | None) -> None:
        if self._must_leave():
            return
        record = self._last_record(task, known)
        self._devices.vacate(device)  # before the core may give it to the next
        if record is None or record.verdict is not None:  # its supervisor died before it began
            verdict = Verdict(Kind.NOT_STARTED, "its supervisor ended before the attempt began")
            self._handle(
                ev.AttemptJudged(task, retry.JudgedAttempt(verdict, device, time.monotonic()))
            )
            return
        self._emit_ended(task, record.started.attempt, device, record.ended or EndLine())
        self._handle(ev.AttemptExited(task))
        self._outcomes.judge(task, record)

    def _last_record(self, task: str, known: AttemptRecord | None = None) -> AttemptRecord | None:
        return next(reversed(attempts_of(task, self._paths, known)), None)

    def _end(self) -> None:
        self._devices.finish()
        self._supervisors.release_all()
        self._writer.finish()
        while not self._inbox.empty():  # what the writer finished last
            self._inbox.get()()
        self._emit(
            "dispatcher_ended", exit_code=self._exit_code, left_running=sorted(self._attempts)
        )
        self._flush()

    # --- actions -------------------------------------------------------------------------------

    def _carry_out(self, action: ev.Action) -> None:
        match action:
            case ev.Start():
                self._start(action)
            case ev.Stop():
                self._stop(action.task, action.verdict)
            case ev.WriteCheckpoint():
                self._outcomes.write(action)
            case ev.CheckActivity():
                self._check_activity(action.task)
            case ev.CheckDisk():
                self._outcomes.check_disk()
            case ev.Waits():
                at = self._clock.time_of_day(action.retry.at)
                self._emit("waits", task=action.task, not_before=at, why=action.retry.why)
            case ev.SetAside():
                until = self._clock.time_of_day(action.until)
                self._emit("set_aside", device=action.device, until=until, why=action.why)
            case ev.Paused():
                self._emit("paused", why=action.why)
            case ev.Resumed():
                self._emit("resumed")
            case ev.Draining():
                self._emit("draining", running=len(self._attempts))
            case ev.Finish():
                self._exit_code = action.exit_code

    def _start(self, action: ev.Start) -> None:
        task = self._tasks[action.task]
        device = self._devices[action.device]
        try:
            if self._detached or self._must_leave():
                return
            supervisor = self._supervisors.on(device.id)
            order = build_order(
                self._sweep,
                task,
                action,
                device,
                self._paths,
                path=self._sweep.env.get("PATH", os.environ.get("PATH")),
                free_memory=self._devices.free_memory(device.id),
            )
        except LeaseHeld:
            self._handle(ev.StartRefused(task.id))
            return
        except OSError as error:
            self._handle(ev.StartRefused(task.id))
            self._outcomes.files_in_trouble(error)
            self._devices.vacate(device.id)
            return
        # Read after the size that the supervisor will compare; most tasks were never tried.
        last = self._last_record(task.id) if order["record_size"] else None
        if last is not None and last.verdict is None and last.started.attempt >= action.number:
            self._take_over(task.id, device.id)  # the last order of a dispatcher that died
            return
        start = StartLine.parse(order["attempt"])
        assert start is not None
        record = AttemptRecord(start)
        life = Life(self._paths.log(task.id), supervisor.pid)
        self._attempts[task.id] = RunningAttempt(
            task.id, action.number, device.id, supervisor, record, life, begun=False
        )
        self._supervisors.works(device.id)
        self._devices.occupy(device.id, supervisor.pid)
        supervisor.order(order)

    def _stop(self, task: str, verdict: Verdict) -> None:
        """Record why, then stop: whoever judges the attempt must know, should this process die now."""
        attempt = self._attempts.get(task)
        if attempt is None:
            return
        attempt.record.stop = StopLine(verdict)
        if attempt.begun:  # before that, the supervisor would refuse a file that has changed
            self._record(attempt, attempt.record.stop)
        self._emit("stopping", task=task, attempt=attempt.number, why=verdict.cause)
        attempt.supervisor.stop()

    def _others_came(self, device: str, processes: list[dict[str, Any]], hidden: int) -> None:
        """Record that others came to the device of an attempt of ours, and who."""
        attempt = next((a for a in self._attempts.values() if a.device == device), None)
        if attempt is None:  # its supervisor was killed: these are its own processes, being ended
            return
        attempt.record.foreign = ForeignLine(processes, hidden)
        if attempt.begun:  # before that, the supervisor would refuse a file that has changed
            self._record(attempt, attempt.record.foreign)
        self._emit("foreign_process", device=device, processes=processes, hidden_memory=hidden)

    def _record(self, attempt: RunningAttempt, line: StopLine | ForeignLine) -> None:
        """Add a line to the record of an attempt, for whoever judges it should this process die."""
        with contextlib.suppress(OSError):  # no room: this process at least knows
            append_line(self._paths.attempts(attempt.task), line.as_json())

    def _check_activity(self, task: str) -> None:
        attempt = self._attempts.get(task)
        if attempt is None:
            return
        at = attempt.life.look(time.monotonic(), self._devices.last_active(attempt.device))
        self._handle(ev.Activity(task, at))

    def _must_leave(self) -> bool:
        """Say whether another dispatcher has the sweep, since somebody removed the lock file: it judges."""
        if self._sweep_lock.is_ours():
            return False
        if self._exit_code is None:
            self._exit_code = 3
            self._emit("sweep_lost")
        return True

    # --- what supervisors say ----------------------------------------------------------------------

    def _answered(self, supervisor: SupervisorHandle, answer: Mapping[str, Any]) -> None:
        attempt = self._attempt_of(supervisor)
        if attempt is None:
            return
        if "started" in answer:
            attempt.record.started = dataclasses.replace(
                attempt.record.started, started=answer["at"]
            )
            attempt.begun = True
            for line in (attempt.record.foreign, attempt.record.stop):
                if line is not None:
                    self._record(attempt, line)
            self._emit(
                "attempt_started",
                task=attempt.task,
                attempt=attempt.number,
                device=attempt.device,
                started=answer["at"],
                pid=answer["started"],
            )
        elif "ended" in answer:
            self._exited(attempt, answer)
        else:
            self._not_taken(attempt, answer)

    def _not_taken(self, attempt: RunningAttempt, answer: Mapping[str, Any]) -> None:
        """The supervisor did not begin: the task's attempts file is in use, or cannot be written."""
        del self._attempts[attempt.task]
        self._supervisors.rests(attempt.device)
        if "errno" in answer and attempt.begun:  # there was no room to record its end
            self._take_over(attempt.task, attempt.device, attempt.record)
        elif "errno" in answer:
            self._handle(ev.StartRefused(attempt.task))
            self._outcomes.files_in_trouble(
                OSError(answer["errno"], answer["failed"], answer["file"])
            )
            self._devices.vacate(attempt.device)
        elif answer["refused"] == "completed":
            self._found_done(attempt)
        else:  # a supervisor of a dispatcher that died got there first
            self._take_over(attempt.task, attempt.device)

    def _found_done(self, attempt: RunningAttempt) -> None:
        """A task that was to run has a ``.done``: of another dispatcher, or put back by its user."""
        path = self._paths.done(attempt.task)
        digest = self._sweep.digest(self._tasks[attempt.task])
        done = read_object(path)
        why = why_not_done(done, digest, None)
        if done is not None and why is None:
            verdict = Verdict(Kind.COMPLETED, "its checkpoint was there already")
            self._outcomes.found(attempt.task, done)
            past = retry.JudgedAttempt(verdict, attempt.device, time.monotonic())
            self._handle(ev.AttemptJudged(attempt.task, past))
        else:
            with contextlib.suppress(FileNotFoundError):
                kept = set_aside(path).name
                self._emit("checkpoint_rejected", task=attempt.task, why=why, kept_as=kept)
            self._handle(ev.StartRefused(attempt.task))
        self._devices.vacate(attempt.device)

    def _supervisor_died(self, device: str, supervisor: SupervisorHandle) -> None:
        """A supervisor was killed: end what it kept, then judge the attempt as lost."""
        attempt = self._attempt_of(supervisor)
        if attempt is not None:
            del self._attempts[attempt.task]
            self._take_over(attempt.task, device, attempt.record if attempt.begun else None)

    def _attempt_of(self, supervisor: SupervisorHandle) -> RunningAttempt | None:
        return next((a for a in self._attempts.values() if a.supervisor is supervisor), None)

    def _exited(self, attempt: RunningAttempt, end: Mapping[str, Any]) -> None:
        """An attempt is over: offer its device first, read its log second."""
        task, device = attempt.task, attempt.device
        if self._must_leave():
            return
        del self._attempts[task]
        self._supervisors.rests(device)
        ended = attempt.record.ended = EndLine.parse(end)
        self._emit_ended(task, attempt.number, device, ended or EndLine())
        self._handle(ev.AttemptExited(task))
        self._devices.vacate(device)
        self._outcomes.judge(task, attempt.record)

    def _emit_ended(self, task: str, number: int, device: str, end: EndLine) -> None:
        self._emit(
            "attempt_ended",
            task=task,
            attempt=number,
            device=device,
            ended=time.time() if end.ended is None else end.ended,
            code=end.code,
            signal=end.signal,
            leftovers=end.leftovers,
        )
