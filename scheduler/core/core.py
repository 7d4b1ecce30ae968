"""The dispatcher's decisions: which task next, on which device, when to stop, retry, give up, end.

A state machine without I/O, clock, process or thread: ``handle(event, now)`` returns actions. The same
events at the same times give the same actions, so all of it runs in simulation, repeatable from a seed.
Time is in seconds on a clock of the caller's that never goes back.

Where a task can stand and what can happen to it there is a table, in states.py. An event that cannot happen
where its task stands is a defect of the caller's and raises an error that holds the task's story. What is
known of tasks, attempts, devices and files stands in tables/, one class each. What follows from the end of an
attempt, and from what people ask for, is in moves/, in two layers below this one. What is started, what time
brings and when the sweep ends is here.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from scheduler.core import events as ev
from scheduler.core.moves.course import FAILED, JUDGING, RUNNING, WAITING, WRITING
from scheduler.core.moves.wishes import Wishes
from scheduler.core.retry import JudgedAttempt, Retry
from scheduler.core.states import Need, State
from scheduler.core.tables.devices import Device
from scheduler.core.tables.matching import Matching, Wanted, wanted
from scheduler.core.tables.watches import Watch
from scheduler.core.verdict import Kind, Verdict

LAST_INTERRUPT = 2  # drains, stops; one more leaves
OUT_OF_TIME = 75  # the exit code that asks for another try: EX_TEMPFAIL of sysexits.h


class Core(Wishes):
    """The state machine of one sweep: events in, actions out.

    It raises ImpossibleEventError for an event about a task that is not in the sweep, or that cannot
    happen where the task stands; after that it decides as if there had been no such event.
    """

    # --- what others may ask -------------------------------------------------------------------

    def state(self, task: str) -> State:
        """Return where the task stands."""
        return self._tasks.states[self._tasks.number(task)]

    def count(self, state: State) -> int:
        """Return how many tasks stand there."""
        return self._tasks.counts[state]

    def next_wake(self) -> float | None:
        """Return when ``handle(Tick(), …)`` is due at the latest, or None if only events matter."""
        times = [heap[0][0] for heap in (self._waiting.delayed, self._watches.heap) if heap]
        if self._writes.paused:
            times.append(self._writes.next_check)
        if (comes_back := self._fleet.next_return()) is not None:
            times.append(comes_back)
        return min(times, default=None)

    def wanted(self) -> Wanted:
        """Return for how many more devices there is work now, and which would do."""
        return wanted(self._waiting, self._fleet, self._now) if self._may_start() else Wanted()

    def next_start(self) -> ev.Start | None:
        """Return how the task starts that is next on any device, none named yet; None: none can be."""
        found = (
            Matching(self._waiting, self._fleet, self._now).first() if self._may_start() else None
        )
        return None if found is None else self._start_of(*found, ())

    def handle(self, event: ev.Event, now: float) -> list[ev.Action]:
        """Take one event at time ``now``; return what is to be done, in this order.

        Raises:
            ImpossibleEventError: the event cannot happen where its task stands.
        """
        self._now = max(now, self._now)
        match event:  # what comes most often first
            case ev.Activity() | ev.Output():
                self._looked_at(self._tasks.expect(event), event)
            case ev.DeviceIdle():
                self._device_idle(event)
            case ev.AttemptExited():
                self._exited(self._tasks.expect(event), event)
            case ev.AttemptJudged():
                self._judged(self._tasks.expect(event), event)
            case ev.CheckpointWritten():
                self._written(self._tasks.expect(event), event)
            case ev.Tick():
                pass
            case ev.DeviceBusy():
                self._withhold(event.device)
            case ev.DeviceGone():
                self._device_gone(event)
            case ev.StartRefused() | ev.Queued() | ev.Began():
                self._told_of_start(self._tasks.expect(event), event)
            case ev.WriteFailed():
                self._write_failed(event)
            case ev.DiskWritable():
                self._writable_again()
            case _:
                self._asked(event)
        self._pass_time()
        self._match()
        self._end()
        actions, self._actions = self._actions, []
        return actions

    # --- devices -------------------------------------------------------------------------------

    def _device_idle(self, event: ev.DeviceIdle) -> None:
        device = self._fleet[event.device]
        device.free_memory = event.free_memory
        if event.total_memory != device.total_memory:
            self._fleet.know(device, event.total_memory)
            constrained, self._waiting.constrained = self._waiting.constrained, {}
            for picky in constrained.values():  # some may have become hopeless
                for task in picky.tasks:
                    self._queue(task, picky.retry)
        device.idle = device.within_reach = True
        self._fleet.offer(device, self._now)
        self._look_again = True

    def _device_gone(self, event: ev.DeviceGone) -> None:
        self._withhold(event.device)
        for task in self._fleet[event.device].tasks:
            self._stop(task, Verdict(Kind.DEVICE_ERROR, event.reason))

    # --- matching ------------------------------------------------------------------------------

    def _match(self) -> None:
        """Start waiting tasks on devices that have room for them."""
        if not self._fleet.any_open(self._now) or not self._may_start():
            return
        look_again, self._look_again = self._look_again, False
        matching = Matching(self._waiting, self._fleet, self._now)
        if look_again and self._waiting.constrained:
            for task, need, devices in matching.of_the_picky():
                self._start(task, need, devices)
        for task, need, devices in matching.of_the_others():
            self._start(task, need, devices)

    def _may_start(self) -> bool:
        stopping = self._brake.on or self._interrupts or self._finished
        return not (stopping or self._held or self._reloading or self._writes.paused)

    def _start(self, task: int, need: Need, devices: Sequence[Device]) -> None:
        names = tuple(device.name for device in devices)
        start = self._start_of(task, need, names)
        self._tasks.move(task, start, RUNNING, self._now)
        self._occupy(task, names, need, self._now, start.halvings)
        self._actions.append(start)

    def _start_of(self, task: int, need: Need, names: tuple[str, ...]) -> ev.Start:
        history: Sequence[JudgedAttempt] = self._history.get(task, ())
        halvings = 0
        if history:
            step = self._policy.next_step(history)
            assert isinstance(step, Retry)
            halvings = step.halvings
        share = None if need.alone else need.memory
        return ev.Start(
            self._tasks.ids[task],
            len(history) + 1,
            names,
            halvings,
            share,
            alone=need.alone,
            stage=("untimed" if need.later else "timed") if task in self._untimed else None,
        )

    # --- time ----------------------------------------------------------------------------------

    def _pass_time(self) -> None:
        now, delayed, watches = self._now, self._waiting.delayed, self._watches.heap
        while delayed and delayed[0][0] <= now:
            _, task, retry = heapq.heappop(delayed)
            self._queue(task, retry)
        while watches and watches[0][0] <= now:
            _, task, started, watch = heapq.heappop(watches)
            if not self._watches.hold(task, started):
                continue
            if watch is Watch.TIMEOUT:
                self._stop(task, self._watches.timeout())
            elif watch is Watch.STALL:
                self._actions.append(ev.CheckActivity(self._tasks.ids[task]))
            else:
                self._actions.append(ev.CheckOutput(self._tasks.ids[task]))
        if self._writes.paused and self._writes.check_is_due(now):
            self._actions.append(ev.CheckDisk())
        if self._fleet.bring_back(now):
            self._look_again = True

    def _looked_at(self, task: int, event: ev.Activity | ev.Output) -> None:
        if self._running[task].stopping:
            return
        if isinstance(event, ev.Output):
            verdict = self._watches.wrote(task, event.log, event.results, self._now)
        else:
            verdict = self._watches.lived(task, event.at, self._now)
        if verdict is not None:
            self._stop(task, verdict)

    # --- the end -------------------------------------------------------------------------------

    def _end(self) -> None:
        if self._finished:
            return
        if self._interrupts > LAST_INTERRUPT:
            self._finish(130)  # what cannot be stopped is left to the next dispatcher
            return
        if self._reloading and not self._interrupts:
            return
        busy = len(self._running) + self._tasks.counts[JUDGING] + self._tasks.counts[WRITING]
        if self._interrupts > 1:
            # A checkpoint that cannot be written is written by the next dispatcher.
            busy -= len(self._writes.failed)
        if busy:
            return
        if self._tasks.counts[WAITING] == 0 and not self._tasks.counts[WRITING]:
            self._finish(1 if self._tasks.counts[FAILED] else 0)
        elif self._interrupts:
            self._finish(OUT_OF_TIME if self._time_short else 130)
        elif self._brake.on:
            self._finish(1)

    def _finish(self, exit_code: int) -> None:
        self._finished = True
        self._actions.append(ev.Finish(exit_code))
