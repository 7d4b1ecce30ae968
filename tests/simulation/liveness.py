"""What the core owes to what it was told: when to stop, to wait, to go elsewhere, to set aside, to give up.

The facts are noted from events and actions alone, and the rules are those of docs/reliability.md, written
down a second time: neither the core nor the retry policy is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core import events as ev
from scheduler.core.retry import MAX_BACKOFF, MAX_FREE_ATTEMPTS, JudgedAttempt
from scheduler.core.states import InitialTask, State
from scheduler.core.tables.devices import ASIDE, MAX_ASIDE, MOST_FREE
from scheduler.core.tables.watches import OUTPUT_CHECK
from scheduler.core.tables.writes import DISK_CHECK
from scheduler.core.verdict import Kind
from tests.simulation.order import LongestFirstProperties
from tests.simulation.safety import demand

_FREE = {Kind.DEVICE_ERROR, Kind.LOST, Kind.NOT_STARTED, Kind.DISK_FULL}
_NO_FAILURE = {Kind.STOPPED, Kind.STAGE_DONE}  # no worker here does its first stage twice
_AT_ONCE = {Kind.LOST, *_NO_FAILURE}  # time would not help, or the task did not fail
_BLAMES_THE_DEVICE = {
    Kind.DEVICE_ERROR,
    Kind.FAILED,
    Kind.NO_SUCCESS_LINE,
    Kind.SIGNALLED,
    Kind.STALLED,
    Kind.NOT_STARTED,
}


# What all tasks that run the same code can fail of alike; of the last three the cause quotes or measures.
_ALIKE = {Kind.WRONG_CODE, Kind.FAILED, Kind.SIGNALLED}
_ALIKE_WHATEVER_IT_QUOTES = {Kind.NO_SUCCESS_LINE, Kind.STALLED, Kind.TOO_MUCH_OUTPUT}


class Stage(Enum):
    """Where a task stands by what was told and decided."""

    WAITING = auto()
    RUNNING = auto()
    EXITED = auto()
    JUDGED = auto()  # and nothing decided of it yet
    WRITING = auto()
    ENDED = auto()


@dataclass
class _Task:
    id: str
    stage: Stage
    history: list[JudgedAttempt]
    place: int  # in the sweep's order
    count: int  # of the devices that it needs
    due: float = 0.0  # not to be tried before
    flees: bool = False  # the device on which it failed last was suspect then
    devices: tuple[str, ...] = ()  # of the running attempt, as what follows
    alone: bool = True
    started: float = 0.0
    alive: float = 0.0  # the last sign of life that the core was told of
    asked: bool = False  # for a sign of life, and not answered yet
    stopped: bool = False
    written: int = 0  # bytes of its log when that was last measured
    measured: float = 0.0
    unwritten: bool = False  # its checkpoint could not be written and is not asked for again
    to_stop: bool = False  # by hand, and that was not done yet
    to_fail: bool = False  # by hand
    wishes: int = 0  # of somebody's, that were not said to be obeyed
    leaving: bool = False  # not in the sweep file any more, but under way
    completed: bool = False  # and in the sweep file

    def run(self, devices: tuple[str, ...], started: float, *, alone: bool) -> None:
        self.devices, self.alone = devices, alone
        self.count_from(started)
        self.asked, self.stopped, self.written = False, False, 0
        self.to_stop = False

    def count_from(self, started: float) -> None:
        self.started = self.alive = self.measured = started


@dataclass
class _Device:
    name: str
    idle: bool = False  # told so last, and nothing started since
    within_reach: bool = (
        False  # not said to be busy, gone or refused since it was last said to be idle
    )
    gone: bool = False
    drained: bool = False  # by hand
    free_memory: int | None = None
    total_memory: int | None = None
    aside_until: float = 0.0
    times_aside: int = 0
    # (task, attempt) since its last completion, or since it was last set aside
    failures: list[tuple[str, JudgedAttempt]] = field(default_factory=list)
    must_go: bool = False  # has earned it to be set aside

    def has_more_than(self, memory: int | None) -> bool:
        return memory is None or self.free_memory is None or self.free_memory > memory


class LivenessProperties:
    """One dispatcher's conversation with its core, and what must come of it."""

    def __init__(
        self,
        seeds: Iterable[InitialTask],
        retries: RetrySettings,
        max_halvings: int,
        limits: Limits,
        alike: frozenset[str] = frozenset(),
        order: LongestFirstProperties | None = None,
        *,
        mixed: bool = False,
    ) -> None:
        # Tasks share devices or have several: which one they get is checked by safety.py alone.
        self._mixed = mixed
        self._alike = alike  # devices that are never set aside
        self._order = order  # None: tasks begin in the sweep's
        self._retries = retries
        self._max_halvings = max_halvings
        self._limits = limits
        self._tasks: dict[str, _Task] = {}
        self._at: dict[Stage, dict[str, _Task]] = {stage: {} for stage in Stage}
        self._devices: dict[str, _Device] = {}
        self._completions: dict[str, float] = {}  # device -> when an attempt was completed on it
        self._failed_on: dict[str, set[str]] = {}  # task -> where it has failed
        self._evidence: dict[str, int] = {}  # task -> what its end says against the one such device
        self._paused = self._draining = self._finished = False
        self._disk_writable = True
        self._held = self._reloading = False
        self._at_most: int | None = None
        self._interrupts = 0
        self._braked = self._must_brake = False
        # By task, of all failures so far: all the same; None: one was another, or a task was completed.
        self._alike_so_far: dict[str, tuple[tuple[Kind, str], tuple[str, ...]]] | None = {}
        self._places = 0
        for seed in seeds:
            self._add(seed)

    def _add(self, seed: InitialTask) -> None:
        stage = {State.WAITING: Stage.WAITING, State.RUNNING: Stage.RUNNING}.get(seed.state)
        task = _Task(
            seed.task, stage or Stage.ENDED, list(seed.history), self._places, seed.need.devices
        )
        self._places += 1
        self._tasks[seed.task] = self._at[task.stage][seed.task] = task
        if seed.state is State.DONE:
            task.completed, self._alike_so_far = True, None
        if seed.devices:
            for name in seed.devices:
                device = self._device(name)
                device.gone = device.idle = False  # who adopts an attempt there looks for itself
            task.run(seed.devices, seed.started, alone=seed.has.alone)
        elif task.stage is Stage.WAITING and seed.history:
            task.due = self._due(task.history)
            self._move(task, Stage.JUDGED)

    def _move(self, task: _Task, stage: Stage) -> None:
        del self._at[task.stage][task.id]
        self._at[stage][task.id] = task
        task.stage = stage

    def _device(self, name: str) -> _Device:
        return self._devices.setdefault(name, _Device(name))

    # --- what the core is told -----------------------------------------------------------------

    def told(self, event: ev.Event, now: float) -> None:
        """Note an event, before the core gets it."""
        match event:
            case ev.DeviceIdle():
                device = self._device(event.device)
                device.idle, device.within_reach, device.gone = True, True, False
                device.free_memory, device.total_memory = event.free_memory, event.total_memory
            case ev.DeviceBusy() | ev.DeviceGone():
                device = self._device(event.device)
                device.idle = device.within_reach = False
                device.gone = isinstance(event, ev.DeviceGone)
            case ev.StartRefused():
                task = self._tasks[event.task]
                self._move(task, Stage.WAITING)
                task.flees = bool(task.history) and self._flees(task.history[-1])
                for name in task.devices:
                    device = self._devices[name]
                    device.idle = device.within_reach = False
            case ev.Queued():  # in a cluster's queue its time does not run
                self._tasks[event.task].count_from(math.inf)
            case ev.Began():
                self._tasks[event.task].count_from(now)
            case ev.AttemptExited():
                self._ended(self._tasks[event.task], now)
                self._move(self._tasks[event.task], Stage.EXITED)
            case ev.AttemptJudged():
                self._judged(self._tasks[event.task], event.attempt, now)
            case ev.CheckpointWritten():
                task = self._tasks[event.task]
                self._move(task, Stage.ENDED)
                task.completed = bool(task.history) and task.history[-1].verdict.completed
                task.completed &= not task.leaving
            case ev.WriteFailed():
                self._disk_writable = False
                if event.task is not None:
                    self._tasks[event.task].unwritten = True
            case ev.DiskWritable():
                self._disk_writable = True
            case ev.Output():
                task = self._tasks[event.task]
                task.written, task.measured = event.log, now
            case ev.Activity():
                task = self._tasks[event.task]
                task.alive, task.asked = max(task.alive, event.at), False
            case ev.StopAsked():
                self._stop_asked(self._tasks[event.task], event)
            case ev.PauseAsked():
                self._held = True
                for task in self._at[Stage.RUNNING].values():
                    task.to_stop |= event.now and not task.stopped
            case ev.ResumeAsked():
                self._held = False
            case ev.DrainAsked():
                self._device(event.device).drained = event.on
            case ev.AtMost():
                self._at_most = event.devices
            case ev.ReloadAsked():
                self._reloading = True
            case ev.ReloadRefused():
                self._reloading = False
            case ev.Reloaded():
                self._reload(event)
            case ev.Interrupt():
                self._interrupts += 1
            case ev.TimeShort(stop=stop):
                self._interrupts = max(self._interrupts, 2 if stop else 1)

    def _stop_asked(self, task: _Task, event: ev.StopAsked) -> None:
        task.to_stop |= task.stage is Stage.RUNNING and not task.stopped
        # What earlier dispatchers judged was decided of before the first event came.
        given_up = task.stage is Stage.JUDGED and self._is_over(task.history)
        over = task.stage in (Stage.WRITING, Stage.ENDED) or given_up
        task.to_fail |= event.fail and not over
        task.wishes += not (task.wishes and task.to_fail)

    def _reload(self, event: ev.Reloaded) -> None:
        self._reloading = False
        for task in list(self._tasks.values()):
            if task.id not in event.order:
                task.completed = False
                task.leaving = task.stage not in (Stage.WAITING, Stage.ENDED)
                if not task.leaving:
                    self._move(task, Stage.ENDED)
        if any(seed.task in self._tasks for seed in event.tasks):
            names = [seed.task for seed in event.tasks]
            done = any(task.completed for task in self._tasks.values() if task.id not in names)
            self._alike_so_far = None if done else {}
            self._braked = self._must_brake = False
        for seed, values in zip(event.tasks, event.values, strict=True):
            old = self._tasks.get(seed.task)
            if old is not None and old.stage is Stage.RUNNING:
                old.history = list(seed.history)
                old.to_stop |= not old.stopped
                old.to_fail = False
                continue
            if old is not None:
                del self._at[old.stage][old.id]
                self._forget_what_failed(old.id)
            if self._order is not None:
                self._order.learn_of({seed.task: values})
            self._add(seed)
        for place, name in enumerate(event.order):
            self._tasks[name].leaving = False
            if self._order is None:
                self._tasks[name].place = place
        if self._order is not None:
            self._order.look()

    def _forget_what_failed(self, task: str) -> None:
        """Keep what a task's failures said against devices apart from what another of its name will do."""
        self._places += 1
        other = f"{task}, before {self._places}"
        for known in (self._failed_on, self._evidence):
            if task in known:
                known[other] = known.pop(task)
        for device in self._devices.values():
            device.failures = [(other if t == task else t, a) for t, a in device.failures]

    def _ended(self, task: _Task, now: float) -> None:
        for name in () if task.alone else task.devices:
            self._devices[name].idle = False  # until it is seen again
        if self._order is not None:
            self._order.ended(task.id, now - task.started)

    def _judged(self, task: _Task, attempt: JudgedAttempt, now: float) -> None:
        if task.stage is Stage.RUNNING:
            self._ended(task, now)
        if self._order is not None and attempt.verdict.completed:
            self._order.completed(task.id)
        self._move(task, Stage.JUDGED)
        task.history.append(attempt)
        task.due = self._due(task.history)
        kind, device = attempt.verdict.kind, self._device(attempt.devices[0])
        self._brake(task, attempt)
        if kind is Kind.COMPLETED:
            for name in attempt.devices:
                self._device(name).failures.clear()
                self._device(name).times_aside = 0
                self._completions[name] = now
            self._evidence[task.id] = 2
        elif len(attempt.devices) > 1:
            pass  # which of them was at fault cannot be told
        elif kind in _BLAMES_THE_DEVICE and device.name not in self._alike:
            device.failures.append((task.id, attempt))
            self._failed_on.setdefault(task.id, set()).add(device.name)
            device.must_go = self._has_earned_it(device, now)
        over = self._is_used_up(task.history) and not task.leaving
        if kind is not Kind.COMPLETED and over:
            self._evidence[task.id] = 1
        at_fault = self._failed_on.get(task.id, set())
        if task.id in self._evidence and len(at_fault) == 1:
            (name,) = at_fault
            self._devices[name].must_go = self._has_earned_it(self._devices[name], now)
        task.flees = self._flees(attempt)
        if kind is Kind.DISK_FULL:
            self._disk_writable = False

    def _brake(self, task: _Task, attempt: JudgedAttempt) -> None:
        kind, cause = attempt.verdict.kind, attempt.verdict.cause
        if kind is Kind.COMPLETED:
            self._alike_so_far = None
        if self._alike_so_far is None or kind not in _ALIKE | _ALIKE_WHATEVER_IT_QUOTES:
            return
        like = (kind, cause if kind in _ALIKE else "")
        if any(like != other for other, _ in self._alike_so_far.values()):
            self._alike_so_far = None
            return
        self._alike_so_far[task.id] = (like, attempt.devices)
        most = self._retries.stop_after
        devices = {device for _, used in self._alike_so_far.values() for device in used}
        running = self._at[Stage.RUNNING].values()
        at_work = {device for other in running for device in other.devices}
        sure = len(devices) > 1 or devices <= self._alike or at_work <= devices
        self._must_brake |= most is not None and len(self._alike_so_far) >= most and sure

    def _blamed_for(self, device: _Device) -> set[str]:
        """Return the tasks that failed on the device since its last completion, and nowhere else."""
        return {task for task, _ in device.failures if self._failed_on[task] == {device.name}}

    def _has_earned_it(self, device: _Device, now: float) -> bool:
        blamed = self._blamed_for(device)
        if device.aside_until > now or not blamed:
            return False
        own = {t for t, at in device.failures if at.verdict.kind is Kind.DEVICE_ERROR} & blamed
        since = min(attempt.ended for task, attempt in device.failures if task in blamed)
        completed_elsewhere = any(
            at >= since for name, at in self._completions.items() if name != device.name
        )
        evidence = sum(self._evidence.get(task, 0) for task in blamed)
        return len(own) >= 2 or (evidence >= 6 and completed_elsewhere)

    def _flees(self, last: JudgedAttempt) -> bool:
        if len(last.devices) > 1:
            return False
        device = self._device(last.devices[0])
        blames = last.verdict.kind in _BLAMES_THE_DEVICE
        return blames and not device.must_go and len(self._blamed_for(device)) >= 2

    # --- what it decides -----------------------------------------------------------------------

    def decided(self, actions: Iterable[ev.Action], now: float, wake: float | None) -> None:
        """Check what the core decided in one go, and what it left undecided.

        Args:
            wake: when the core wants to be told the time next.
        """
        for action in actions:
            match action:
                case ev.Start():
                    self._check_start(action, now)
                    for name in action.devices if action.alone else ():
                        self._devices[name].idle = False
                    task = self._tasks[action.task]
                    task.run(action.devices, now, alone=action.alone)
                    self._move(task, Stage.RUNNING)
                case ev.Stop():
                    task = self._tasks[action.task]
                    demand("only what runs is stopped", task.stage is Stage.RUNNING, action)
                    demand("an attempt is stopped once", not task.stopped, action)
                    task.stopped, task.to_stop = True, False
                case ev.WriteCheckpoint():
                    self._check_write(action)
                    task = self._tasks[action.task]
                    self._move(task, Stage.WRITING)
                    task.unwritten = False
                case ev.CheckActivity():
                    self._tasks[action.task].asked = True
                case ev.Waits():
                    task = self._tasks[action.task]
                    demand("what waits was judged", task.stage is Stage.JUDGED, action)
                    demand("what left the file does not wait", not task.leaving, action)
                    self._move(task, Stage.WAITING)
                case ev.Withdrawn():
                    task = self._tasks[action.task]
                    over = task.leaving and task.stage not in (Stage.RUNNING, Stage.EXITED)
                    demand("only what left the file is withdrawn", over, action, task)
                    self._move(task, Stage.ENDED)
                    task.leaving = task.to_fail = False
                case ev.SetAside():
                    self._check_aside(action, now)
                case ev.Paused():
                    self._paused = True
                case ev.Resumed():
                    written = self._disk_writable and not self._at[Stage.WRITING]
                    demand("paused until all is written", written, action, self._at)
                    self._paused = False
                case ev.Draining():
                    self._draining = True
                case ev.Braked():
                    demand("stopped once, and not early", self._must_brake, action)
                    demand("stopped once, and not early", not self._braked, action)
                    self._braked = True
                case ev.Obeyed():
                    task = self._tasks[action.task]
                    done = task.stage is Stage.ENDED or not (task.to_stop or task.to_fail)
                    demand("a wish is kept until it is obeyed", done and task.wishes, action, task)
                    task.wishes = 0
                case ev.Finish():
                    demand("a sweep ends once", not self._finished, action)
                    read = not self._reloading or self._interrupts
                    demand("no sweep ends while its file is read again", read, action)
                    self._finished = True
        if not self._finished:
            self._check_stops(now)
            self._check_consequences()
            self._check_waiting(now)
            self._check_wake(now, wake)

    def _check_start(self, start: ev.Start, now: float) -> None:
        task, devices = self._tasks[start.task], [self._devices[name] for name in start.devices]
        past = task.history
        kinds = {attempt.verdict.kind for attempt in past}
        demand("no start while paused", not self._paused, start)
        demand("no start while draining", not self._draining, start)
        demand("no start once the first all failed alike", not self._braked, start)
        demand("no start while paused by hand", not self._held, start)
        demand("no start while the file is read again", not self._reloading, start)
        drained = any(device.drained for device in devices)
        demand("no start on a drained device", not drained, start)
        demand("no start beyond the devices that may be used", self._may_use(devices), start)
        demand("what is to fail is not tried again", not task.to_fail, start)
        demand("only what waits is started", task.stage is Stage.WAITING, start)
        aside = any(device.aside_until > now for device in devices)
        demand("no start on a device set aside", not aside, start)
        demand("attempts are numbered", start.number == len(past) + 1, start)
        demand("attempts are limited", not self._is_used_up(past), start, past)
        demand("wrong code is not retried", Kind.WRONG_CODE not in kinds, start)
        demand("each OOM halves, nothing else does", start.halvings == self._halvings(past), start)
        demand("a retry waits for its time", now >= task.due, start, task.due)
        needed = self._memory_needed(past)
        enough = all(device.has_more_than(needed) for device in devices)
        demand("an OOM is retried where more memory is free", enough, start, devices, needed)
        more = [attempt.taken or 0 for attempt in past if attempt.took_too_much]
        asks = start.share is None or start.share >= max(more, default=0)
        demand("who took more than its share asks for as much", asks, start, more)
        elsewhere = not any(self._avoids(task, device, now) for device in devices)
        demand("a device in doubt sends its task elsewhere", elsewhere, start, self._devices)
        if not past and not self._mixed:
            [device] = devices
            waiting = self._waiting(now)
            untried = sorted((t for t in waiting if not t.history), key=lambda t: t.place)
            if self._order is None:
                demand("tasks begin in the sweep's order", task is untried[0], start, untried[0])
            else:
                first = self._order.may_begin(task.id, [t.id for t in untried])
                demand("the longest begin first", first, start, untried)
            tried = [t.id for t in waiting if t.history and self._suits(t, device, now)]
            demand("who was tried before goes first", not tried, start, tried)

    def _check_write(self, write: ev.WriteCheckpoint) -> None:
        task = self._tasks[write.task]
        its_time = task.stage in (Stage.JUDGED, Stage.WAITING) or task.unwritten
        follows = task.history or task.to_fail
        demand("a checkpoint follows a verdict", its_time and follows, write, task)
        completed = bool(task.history) and task.history[-1].verdict.completed
        demand("a checkpoint says what was judged", write.completed == completed, write, task)
        if not completed:
            over = task.to_fail or self._is_over(task.history)
            demand("not given up early", over, write, task.history, self._devices)

    def _check_aside(self, action: ev.SetAside, now: float) -> None:
        device = self._devices[action.device]
        demand("no device is set aside without a reason", device.must_go, action, device)
        seconds = min(MAX_ASIDE, ASIDE * 2.0**device.times_aside)
        demand("set aside, each time twice as long", action.until == now + seconds, action, now)
        device.aside_until = action.until
        device.times_aside += 1
        device.must_go = False
        device.failures.clear()

    # --- what it must not leave undecided ------------------------------------------------------

    def _check_stops(self, now: float) -> None:
        timeout, stall, most = self._limits.timeout, self._limits.stall, self._limits.log
        for task in self._at[Stage.RUNNING].values():
            if task.stopped:
                continue
            demand(
                "no attempt stays on a lost device",
                not any(self._devices[name].gone for name in task.devices),
                task,
            )
            demand("the second Ctrl-C stops what runs", self._interrupts < 2, task)
            demand("what is to be stopped is", not task.to_stop, task)
            in_time = timeout is None or now < task.started + timeout
            demand("a timeout counts from the start, whoever watches", in_time, task, now)
            heard = stall is None or task.asked or now < task.alive + stall
            demand("what writes too much is stopped", most is None or task.written <= most, task)
            demand("what shows no life is asked for it, then stopped", heard, task, now)

    def _check_consequences(self) -> None:
        demand("what was judged waits or ends", not self._at[Stage.JUDGED], self._at)
        suspects = [device for device in self._devices.values() if device.must_go]
        demand("a device that fails one task after the other is set aside", not suspects, suspects)
        demand("the first Ctrl-C drains", self._draining == (self._interrupts > 0))
        demand("what fails alike everywhere stops the sweep", self._braked == self._must_brake)
        demand("no room pauses the sweep", self._disk_writable or self._paused)
        unwritten = [task for task in self._at[Stage.WRITING].values() if task.unwritten]
        again = not (self._disk_writable and unwritten)
        demand("what could not be written is written when there is room", again, unwritten)
        writing = list(self._at[Stage.WRITING].values())
        over = self._paused and self._disk_writable and not writing
        demand("a pause ends when all is written", not over)
        if self._interrupts > 1:
            writing = [task for task in writing if not task.unwritten]
        under_way = self._at[Stage.RUNNING] or self._at[Stage.EXITED] or writing
        waits = (self._at[Stage.WAITING] and not self._braked) or self._reloading
        waits = waits and not self._interrupts
        demand("a sweep ends when nothing is under way", under_way or waits, self._tasks)
        demand("the third Ctrl-C ends it", self._interrupts < 3)
        ended = self._at[Stage.ENDED].values()
        demand("whose task has ended is told so", not any(task.wishes for task in ended), self._at)

    def _check_waiting(self, now: float) -> None:
        waiting = self._waiting(now)
        for task in waiting:
            demand("what has no hope is given up", not self._is_over(task.history), task)
            demand("what is to fail does not wait", not task.to_fail, task)
            demand("what left the file does not wait", not task.leaving, task)
        if self._paused or self._draining or self._held or self._braked or self._reloading:
            return
        if self._full() or self._mixed:
            self._check_standstill(waiting, now)
            return
        for device in self._devices.values():
            if (
                device.drained
                or not device.idle
                or self._in_use(device)
                or device.aside_until > now
            ):
                continue
            suited = [task.id for task in waiting if self._suits(task, device, now)]
            demand("no idle device while a task waits", not suited, device, suited)

    def _check_standstill(self, waiting: Sequence[_Task], now: float) -> None:
        """Check that a sweep with all its devices free does not wait for nothing."""
        if self._used():
            return
        devices = self._devices.values()
        free = [device for device in devices if device.idle and not device.drained]
        if len(free) < len(devices) or any(device.aside_until > now for device in devices):
            return
        most = len(free) if self._at_most is None else min(len(free), self._at_most)
        fitting = [task for task in waiting if task.count <= most]
        plain = [task for task in fitting if self._memory_needed(task.history) is None]
        demand("no standstill while all devices are idle", not plain, plain, devices)

    def _check_wake(self, now: float, wake: float | None) -> None:
        demand("due is done", wake is None or wake > now, wake)
        deadlines = [device.aside_until for device in self._devices.values()]
        deadlines += [task.due for task in self._at[Stage.WAITING].values()]
        if self._paused:
            deadlines.append(now + DISK_CHECK)
        for task in self._at[Stage.RUNNING].values():
            if task.stopped:
                continue
            if self._limits.timeout is not None:
                deadlines.append(task.started + self._limits.timeout)
            if self._limits.log is not None:
                deadlines.append(task.measured + OUTPUT_CHECK)
            if self._limits.stall is not None and not task.asked:
                deadlines.append(task.alive + self._limits.stall)
        next_one = min((at for at in deadlines if now < at < math.inf), default=None)
        in_time = next_one is None or (wake is not None and wake <= next_one)
        demand("time wakes the core for what it owes", in_time, wake, next_one)

    # --- the rules -----------------------------------------------------------------------------

    def _used(self) -> set[str]:
        return {name for task in self._at[Stage.RUNNING].values() for name in task.devices}

    def _full(self) -> bool:
        return self._at_most is not None and len(self._used()) >= self._at_most

    def _may_use(self, devices: Iterable[_Device]) -> bool:
        in_use = self._used()
        more = {device.name for device in devices} - in_use
        return self._at_most is None or not more or len(in_use | more) <= self._at_most

    def _in_use(self, device: _Device) -> bool:
        return device.name in self._used()

    def _waiting(self, now: float) -> list[_Task]:
        """Return the tasks that wait for nothing but a device."""
        return [task for task in self._at[Stage.WAITING].values() if task.due <= now]

    def _suits(self, task: _Task, device: _Device, now: float) -> bool:
        enough = device.has_more_than(self._memory_needed(task.history))
        return enough and not self._avoids(task, device, now)

    def _avoids(self, task: _Task, device: _Device, now: float) -> bool:
        """Say whether the task, or tasks one after the other, failed on this device, and another may do."""
        if not task.history:
            return False
        last, needed = task.history[-1], self._memory_needed(task.history)
        flees = task.flees and len(self._blamed_for(device)) >= 2
        if last.devices != (device.name,) or not (last.verdict.kind is Kind.DEVICE_ERROR or flees):
            return False
        return any(
            (other.within_reach or self._in_use(other))
            and not other.drained
            and other.aside_until <= now
            and other.has_more_than(needed)
            for other in self._devices.values()
            if other is not device
        )

    def _due(self, past: Sequence[JudgedAttempt]) -> float:
        """Return when to try again: each failure backs off twice as long as the one before."""
        last = past[-1]
        kind = last.verdict.kind
        if kind in _AT_ONCE or (
            kind is Kind.OUT_OF_MEMORY
            and not last.foreign
            and (_exceeded(last) or self._can_halve(last) or self._memory_needed(past) is not None)
        ):
            return last.ended
        failures = sum(attempt.verdict.kind not in _NO_FAILURE for attempt in past)
        return last.ended + min(MAX_BACKOFF, self._retries.backoff * 2.0 ** (failures - 1))

    def _can_halve(self, attempt: JudgedAttempt) -> bool:
        others = attempt.foreign or attempt.crowded
        out_of_memory = attempt.verdict.kind is Kind.OUT_OF_MEMORY and not others
        return out_of_memory and attempt.halvings < self._max_halvings

    def _halvings(self, past: Sequence[JudgedAttempt]) -> int:
        return max((attempt.halvings + self._can_halve(attempt) for attempt in past), default=0)

    def _memory_needed(self, past: Sequence[JudgedAttempt]) -> int | None:
        """Return the most memory that was free and not enough, with nothing left to halve."""
        tried = (
            attempt.free_memory
            for attempt in past
            if attempt.verdict.kind is Kind.OUT_OF_MEMORY
            and not (attempt.foreign or attempt.crowded)
            and not self._can_halve(attempt)
        )
        return max((memory for memory in tried if memory is not None), default=None)

    def _is_used_up(self, past: Sequence[JudgedAttempt]) -> bool:
        """Say whether the last failure was one too many; after a stop there is always a next time."""
        if not past or past[-1].verdict.kind in _NO_FAILURE:
            return False
        free = charged = 0
        for attempt in past:
            kind = attempt.verdict.kind
            if kind in _NO_FAILURE or self._can_halve(attempt):
                continue
            others = attempt.foreign or (attempt.crowded and not _exceeded(attempt))
            if kind in _FREE or (kind is Kind.OUT_OF_MEMORY and others):
                free += 1
            else:
                charged += 1
        return charged + max(0, free - MAX_FREE_ATTEMPTS) >= self._retries.max_attempts

    def _is_over(self, past: Sequence[JudgedAttempt]) -> bool:
        """Say whether a task that failed like this has no further attempt."""
        # What a task needs does not change, so that its attempts had as many devices.
        count = len(past[-1].devices) if past else 1
        wrong_code = bool(past) and past[-1].verdict.kind is Kind.WRONG_CODE
        hopeless = not self._may_have_more_than(self._memory_needed(past), count)
        return wrong_code or hopeless or self._is_used_up(past)

    def _may_have_more_than(self, needed: int | None, count: int) -> bool:
        """Say whether any device could have so much memory free, as far as is known."""
        if needed is None or len(self._devices) < count:
            return True
        totals = [device.total_memory for device in self._devices.values()]
        return sum(total is None or total * MOST_FREE > needed for total in totals) >= count


def _exceeded(attempt: JudgedAttempt) -> bool:
    """Say whether an attempt took more of a shared device than it had asked for."""
    if not attempt.crowded or attempt.asked is None:
        return False
    return attempt.taken is None or attempt.taken > attempt.asked
