"""The dispatcher's decisions: which task next, on which device, when to stop, retry, give up, end.

A state machine without I/O, clock, process or thread: ``handle(event, now)`` returns actions. The same
events at the same times give the same actions, so all of it runs in simulation, repeatable from a seed.
Time is in seconds on a clock of the caller's that never goes back.

Where a task can stand and what can happen to it there is a table, in states.py. An event that cannot happen
where its task stands is a defect of the caller's and raises an error that holds the task's story. What is
known of tasks, attempts, devices and files stands in tables/, one class each; what follows from it is here.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from scheduler.config.sweep import Limits
from scheduler.core import events as ev
from scheduler.core.brake import Brake
from scheduler.core.retry import GiveUp, GiveUpCode, JudgedAttempt, Policy, Retry
from scheduler.core.states import InitialTask, Need, State
from scheduler.core.tables.devices import Device, Fleet
from scheduler.core.tables.matching import Matching
from scheduler.core.tables.order import LongestFirst
from scheduler.core.tables.tasks import Tasks
from scheduler.core.tables.waiting import Waiting
from scheduler.core.tables.watches import RunningAttempt, Watch, Watches
from scheduler.core.tables.writes import Writes
from scheduler.core.verdict import SWEEP_CHANGED, Kind, Verdict

BY_HAND = GiveUp(GiveUpCode.BY_HAND)
LAST_INTERRUPT = 2  # drains, stops; one more leaves
# Looking a member up in its enumeration costs as much as the rest of a move.
WAITING, RUNNING, JUDGING, WRITING, DONE, FAILED, GONE = State


class Core:
    """The state machine of one sweep: events in, actions out.

    It raises ImpossibleEventError for an event about a task that is not in the sweep, or that cannot
    happen where the task stands; after that it decides as if there had been no such event.
    """

    def __init__(
        self,
        tasks: Iterable[InitialTask],
        policy: Policy,
        limits: Limits,
        now: float,
        devices: Mapping[str, int | None] | None = None,
        alike: Collection[str] = (),
        order: LongestFirst | None = None,
        *,
        most_sharers: int | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        """Begin with what earlier dispatchers left.

        Args:
            tasks: every task, in the order in which they are to be started.
            policy: when a task is tried again.
            limits: when an attempt is stopped.
            now: the time.
            devices: the memory in bytes of each device that events may name, None where it is not
                known: no task is given up for want of memory that one of them has.
            alike: those of them that are parts of one whole and never set aside: CPU slots.
            order: by which those that were never tried are started instead; it knows the tasks by number.
            most_sharers: attempts that share a device, at most; None: as many as fit.
            groups: which devices stand closer together than others, by name.
        """
        self._policy = policy
        self._now = now
        self._actions: list[ev.Action] = []
        self._tasks = Tasks()
        self._history: dict[int, tuple[JudgedAttempt, ...]] = {}
        self._running: dict[int, RunningAttempt] = {}
        self._waiting = Waiting(order)
        self._watches = Watches(limits, self._running)
        self._writes = Writes()
        self._fleet = Fleet(alike, most_sharers)
        self._look_again = False  # something changed that may suit a constrained task
        self._brake = Brake(policy.settings.stop_after, alike)
        self._held = False  # by hand: nothing is started
        self._reloading = False  # the sweep file is being read again: nothing is started
        self._leaving: set[int] = set()  # not in the sweep file any more, but under way
        self._to_fail: set[int] = set()  # by hand, and no .failed is durable yet
        self._interrupts = 0
        self._finished = False
        for name, memory in (devices or {}).items():
            if memory is not None:
                self._fleet[name].total_memory = memory
        for name, group in (groups or {}).items():
            self._fleet[name].group = group
        for initial in tasks:
            self._add_task(initial)

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
            case ev.StartRefused():
                self._start_refused(self._tasks.expect(event), event)
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

    # --- tasks ---------------------------------------------------------------------------------

    def _add_task(self, initial: InitialTask) -> None:
        # What failed before is as if judged just now: that decides where it belongs.
        judged = initial.state is WAITING and bool(initial.history)
        state = JUDGING if judged else initial.state
        task = self._tasks.add(initial.task, state)
        self._waiting.enter(task, initial.need, untried=state is WAITING)
        self._fleet.expect(initial.need)
        if initial.history:
            self._history[task] = initial.history
        if state is DONE:
            self._brake.release()
        if state is RUNNING:
            self._occupy(task, initial.devices, initial.has, initial.started, initial.halvings)
        elif state is JUDGING:
            self._after_failure(task)

    def _occupy(
        self, task: int, names: tuple[str, ...], need: Need, started: float, halvings: int
    ) -> None:
        for name in names:
            self._fleet.occupy(name, need, self._now)
        self._running[task] = RunningAttempt(names, need, started, halvings)
        self._watches.begin(task, started)

    def _release(self, task: int) -> None:
        running = self._running.pop(task)
        self._waiting.ended(task, self._now - running.started)
        for name in running.devices:
            self._fleet.vacate(name, running.need, self._now)
        self._look_again = True

    def _exited(self, task: int, event: ev.AttemptExited) -> None:
        self._release(task)
        self._tasks.move(task, event, JUDGING, self._now)

    def _judged(self, task: int, event: ev.AttemptJudged) -> None:
        attempt = event.attempt
        # An attempt that never became a process has no exit.
        if self._tasks.states[task] is RUNNING:
            self._release(task)
        self._tasks.move(task, event, JUDGING, self._now)
        self._look_again = True  # devices that are avoided may be less suspect now
        if attempt.verdict.completed:
            self._waiting.completed(task)
            self._brake.release()
            for name in attempt.devices:
                self._set_aside(self._fleet.completed_on(name, task, self._now))
            self._write(task)
            return
        self._history[task] = (*self._history.get(task, ()), attempt)
        self._set_aside(self._fleet.failed_on(attempt, task, self._now))
        if attempt.verdict.kind is Kind.DISK_FULL:
            self._pause(attempt.verdict.cause)
        at_work = (name for running in self._running.values() for name in running.devices)
        if self._brake.failed(task, attempt, at_work):
            self._actions.append(ev.Braked(self._brake.tasks, self._brake.cause))
        self._after_failure(task)

    def _after_failure(self, task: int) -> None:
        """Send a task in JUDGING, whose last attempt failed, back to waiting, or give it up."""
        if task in self._leaving:
            self._leave(task)
            return
        step = self._next_step(task)
        if isinstance(step, GiveUp):
            self._set_aside(self._fleet.gave_up(task, self._now))
            self._write(task, step)
            return
        if task in self._to_fail:
            self._write(task, BY_HAND)
            return
        waits = ev.Waits(self._tasks.ids[task], step)
        self._tasks.move(task, waits, WAITING, self._now)
        self._actions.append(waits)
        if step.at > self._now:
            self._waiting.delay(task, step)
        else:
            self._queue(task, step)

    def _next_step(self, task: int) -> Retry | GiveUp:
        """Return what becomes of a task that has failed: what fails on a suspect device flees it."""
        history = self._history[task]
        step = self._policy.next_step(history)
        if isinstance(step, Retry) and step.avoid is None and self._fleet.flees(history[-1]):
            return replace(step, avoid=history[-1].only_device)
        return step

    def _queue(self, task: int, retry: Retry) -> None:
        if not self._fleet.can_have_more_than(
            retry.above_memory, self._waiting.needs[task].devices
        ):
            self._write(task, GiveUp(GiveUpCode.NO_SUCH_MEMORY, memory=retry.above_memory))
        elif not self._waiting.add(task, retry):
            self._look_again = True

    def _write(self, task: int, failure: GiveUp | None = None) -> None:
        write = ev.WriteCheckpoint(self._tasks.ids[task], failure)
        self._tasks.move(task, write, WRITING, self._now)
        self._writes.asked[task] = failure
        self._actions.append(write)

    def _written(self, task: int, event: ev.CheckpointWritten) -> None:
        failure = self._writes.asked.pop(task)
        self._tasks.move(task, event, DONE if failure is None else FAILED, self._now)
        self._history.pop(task, None)
        self._tasks.stories.end(task)
        self._forget_wish(task)
        if task in self._leaving:
            self._leave(task)
        self._resume()

    # --- devices -------------------------------------------------------------------------------

    def _device_idle(self, event: ev.DeviceIdle) -> None:
        device = self._fleet[event.device]
        device.free_memory = event.free_memory
        if event.total_memory != device.total_memory:
            device.total_memory = event.total_memory
            constrained, self._waiting.constrained = self._waiting.constrained, {}
            for task, retry in constrained.items():  # some may have become hopeless
                self._queue(task, retry)
        device.idle = device.within_reach = True
        self._fleet.offer(device, self._now)
        self._look_again = True

    def _withhold(self, name: str) -> None:
        device = self._fleet[name]
        device.idle = device.within_reach = False
        self._look_again = True  # a task may no longer wait for it in vain

    def _device_gone(self, event: ev.DeviceGone) -> None:
        self._withhold(event.device)
        for task, running in self._running.items():
            if event.device in running.devices:
                self._stop(task, Verdict(Kind.DEVICE_ERROR, event.reason))

    def _set_aside(self, aside: ev.SetAside | None) -> None:
        if aside is not None:
            self._look_again = True
            self._actions.append(aside)

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
        history: Sequence[JudgedAttempt] = self._history.get(task, ())
        halvings = 0
        if history:
            step = self._policy.next_step(history)
            assert isinstance(step, Retry)
            halvings = step.halvings
        names = tuple(device.name for device in devices)
        share = None if need.alone else need.memory
        start = ev.Start(
            self._tasks.ids[task], len(history) + 1, names, halvings, share, alone=need.alone
        )
        self._tasks.move(task, start, RUNNING, self._now)
        self._occupy(task, names, need, self._now, halvings)
        self._actions.append(start)

    def _start_refused(self, task: int, event: ev.StartRefused) -> None:
        """Put the task back where it was; its device counts as busy until it is seen idle again."""
        for name in self._running[task].devices:
            self._withhold(name)
        self._release(task)
        self._tasks.move(task, event, WAITING, self._now)
        if task in self._leaving:
            self._leave(task)
        elif task in self._to_fail:
            self._write(task, BY_HAND)
        elif task not in self._history:
            self._waiting.put_back(task)
        else:
            step = self._next_step(task)
            assert isinstance(step, Retry)
            self._queue(task, step)

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

    def _stop(self, task: int, verdict: Verdict) -> None:
        running = self._running[task]
        if not running.stopping:
            running.stopping = True
            stop = ev.Stop(self._tasks.ids[task], verdict)
            self._tasks.stories.add(task, stop, self._now)
            self._actions.append(stop)

    # --- what people ask for -------------------------------------------------------------------

    def _asked(self, event: ev.Wish) -> None:
        match event:
            case ev.Interrupt():
                self._interrupt()
            case ev.StopAsked():
                self._stop_asked(self._tasks.expect(event), event)
            case ev.PauseAsked():
                self._pause_asked(event)
            case ev.ResumeAsked():
                self._held = False
            case ev.DrainAsked():
                self._drain(event)
            case ev.AtMost():
                self._fleet.at_most = event.devices
                self._look_again = True
            case ev.ReloadAsked():
                self._reloading = True
            case ev.Reloaded():
                self._reloaded(event)
            case ev.ReloadRefused():
                self._reloading = False

    def _stop_asked(self, task: int, event: ev.StopAsked) -> None:
        state = self._tasks.states[task]
        if state is RUNNING:
            self._stop(task, Verdict(Kind.STOPPED, "stopped by hand"))
        if task in self._to_fail:
            return
        if not event.fail or state in (WRITING, DONE, FAILED):
            self._actions.append(ev.Obeyed(event.task))
            return
        self._to_fail.add(task)
        if state is WAITING:
            self._waiting.remove([task])
            self._write(task, BY_HAND)

    def _pause_asked(self, event: ev.PauseAsked) -> None:
        self._held = True
        if event.now:
            self._stop_all("paused by hand")

    def _drain(self, event: ev.DrainAsked) -> None:
        self._fleet.drain(event.device, self._now, on=event.on)
        self._look_again = True  # a task may no longer wait for it in vain

    def _reloaded(self, event: ev.Reloaded) -> None:
        self._reloading = False
        self._policy = event.policy or self._policy
        if event.limits is not None:
            self._watches.take_limits(event.limits)
        listed, changed = set(event.order), {initial.task for initial in event.tasks}
        known = [n for n, state in enumerate(self._tasks.states) if state is not GONE]
        names = {task: self._tasks.ids[task] for task in known}
        self._withdraw([task for task, name in names.items() if name not in listed])
        others = [task for task, name in names.items() if name in changed]
        self._withdraw([task for task in others if task not in self._running])
        if any(map(self._tasks.is_known, changed)):
            most = self._policy.settings.stop_after
            self._brake.begin_anew(None if self._tasks.counts[DONE] else most)
        for number, initial in enumerate(event.tasks):
            if self._tasks.runs(initial.task):
                self._outdate(self._tasks.number(initial.task), initial)
            else:
                self._waiting.learn_of(event.values[number : number + 1])
                self._add_task(initial)
        sequence = [self._tasks.number(name) for name in event.order]
        self._leaving.difference_update(sequence)
        self._waiting.reorder(sequence)
        self._look_again = True

    def _withdraw(self, tasks: Sequence[int]) -> None:
        """Take tasks out of the sweep; those under way leave when their attempt is over."""
        self._waiting.remove({task for task in tasks if self._tasks.states[task] is WAITING})
        for task in tasks:
            if self._tasks.states[task] in (RUNNING, JUDGING, WRITING):
                self._leaving.add(task)
            else:
                self._move_out(task)

    def _leave(self, task: int) -> None:
        self._leaving.remove(task)
        self._actions.append(self._move_out(task))
        self._forget_wish(task)

    def _forget_wish(self, task: int) -> None:
        if task in self._to_fail:
            self._to_fail.remove(task)
            self._actions.append(ev.Obeyed(self._tasks.ids[task]))

    def _move_out(self, task: int) -> ev.Withdrawn:
        withdrawn = ev.Withdrawn(self._tasks.ids[task])
        self._tasks.move(task, withdrawn, GONE, self._now)
        self._tasks.stories.end(task)
        self._history.pop(task, None)
        return withdrawn

    def _outdate(self, task: int, initial: InitialTask) -> None:
        """End the attempt of a task whose settings have changed; what counts of before is in ``initial``."""
        self._waiting.change_need(task, initial.need)
        self._fleet.expect(initial.need)
        self._history.pop(task, None)
        if initial.history:
            self._history[task] = initial.history
        self._stop(task, Verdict(Kind.STOPPED, SWEEP_CHANGED))
        self._forget_wish(task)

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            self._actions.append(ev.Draining())
        else:
            self._stop_all("stopped by the user")

    def _stop_all(self, cause: str) -> None:
        for task in self._running:
            self._stop(task, Verdict(Kind.STOPPED, cause))

    # --- trouble with files, and the end -------------------------------------------------------

    def _write_failed(self, event: ev.WriteFailed) -> None:
        if event.task is not None:
            task = self._tasks.expect(event)
            self._tasks.stories.add(task, event, self._now)
            self._writes.failed.add(task)
        self._pause(event.reason)

    def _pause(self, why: str) -> None:
        if self._writes.pause(self._now):
            self._actions.append(ev.Paused(why))

    def _writable_again(self) -> None:
        for task, failure in self._writes.writable_again():
            self._actions.append(ev.WriteCheckpoint(self._tasks.ids[task], failure))
        self._resume()

    def _resume(self) -> None:
        if self._writes.paused and self._writes.resume():
            self._actions.append(ev.Resumed())

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
            self._finish(130)
        elif self._brake.on:
            self._finish(1)

    def _finish(self, exit_code: int) -> None:
        self._finished = True
        self._actions.append(ev.Finish(exit_code))
