"""The course of a task, as it follows from its attempts: judged, tried again, done, given up."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from scheduler.config.sweep import Limits
from scheduler.core import events as ev
from scheduler.core.brake import Brake
from scheduler.core.retry import (
    GiveUp,
    GiveUpCode,
    JudgedAttempt,
    Policy,
    Retry,
    is_timed_stage_done,
)
from scheduler.core.states import InitialTask, Need, State
from scheduler.core.tables.devices import Device, Fleet
from scheduler.core.tables.order import LongestFirst
from scheduler.core.tables.tasks import Tasks
from scheduler.core.tables.waiting import Waiting
from scheduler.core.tables.watches import RunningAttempt, Watches
from scheduler.core.tables.writes import Writes
from scheduler.core.verdict import Kind, Verdict

# So few tasks for each device, and so few for all of them, are put in order by a plan; see LongestFirst.
MOST_ROUNDS = 6
MOST_PLANNED = 20_000  # tasks times devices
BY_HAND = GiveUp(GiveUpCode.BY_HAND)
# Looking a member up in its enumeration costs as much as the rest of a move.
WAITING, RUNNING, JUDGING, WRITING, DONE, FAILED, GONE = State


class Course:
    """What is known of a sweep, and the moves of its tasks that follow from what becomes of attempts."""

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
        lone: Collection[str] = (),
    ) -> None:
        """Begin with what earlier dispatchers left.

        Args:
            tasks: every task, in the order in which they are to be started.
            policy: when a task is tried again.
            limits: when an attempt is stopped.
            now: the time.
            devices: the memory in bytes of each device that events may name, None where it is not
                known: no task is given up for want of memory that one of them has, and each that has
                more devices at once than these are.
            alike: those of them that are parts of one whole and never set aside: CPU slots.
            order: by which those that were never tried are started instead; it knows the tasks by number.
            most_sharers: attempts that share a device, at most; None: as many as fit.
            groups: which devices stand closer together than others, by name.
            lone: devices that no attempt can have beside others: MIG instances.
        """
        self._policy = policy
        self._now = now
        self._actions: list[ev.Action] = []
        self._tasks = Tasks()
        self._history: dict[int, tuple[JudgedAttempt, ...]] = {}
        self._untimed: dict[
            int, Need
        ] = {}  # of those that are measured in two parts: of the second
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
        self._time_short = False  # which was no wish of the user's: there was no interrupt
        self._finished = False
        for name, memory in (devices or {}).items():
            self._fleet.know(self._fleet[name], memory)
        for name, group in (groups or {}).items():
            self._fleet[name].group = group
        for name in lone:
            self._fleet.know(self._fleet[name], self._fleet[name].total_memory, lone=True)
        # How many an attempt can have at once; None: not known.
        self._most_devices = max(1, len(devices.keys() - set(lone))) if devices else None
        for initial in tasks:
            self._add_task(initial)
        self._look_at_order()

    # --- tasks ----------------------------------------------------------------------------------

    def _add_task(self, initial: InitialTask) -> None:
        # What failed before is as if judged just now: that decides where it belongs.
        judged = initial.state is WAITING and bool(initial.history)
        state = JUDGING if judged else initial.state
        task = self._tasks.add(initial.task, state)
        self._waiting.enter(task, self._need(task, initial), untried=state is WAITING)
        if initial.history:
            self._history[task] = initial.history
        if state is DONE:
            self._brake.release()
        if state is RUNNING:
            self._occupy(task, initial.devices, initial.has, initial.started, initial.halvings)
        elif state is JUDGING:
            self._after_attempt(task)
        elif state is WAITING and (failure := self._too_few_devices(task)) is not None:
            self._waiting.remove([task])
            self._write(task, failure)

    def _need(self, task: int, initial: InitialTask) -> Need:
        """Take note of what a task will need; return what its next attempt does."""
        self._fleet.expect(initial.need)
        self._untimed.pop(task, None)
        if initial.untimed is None:
            return initial.need
        self._fleet.expect(initial.untimed)
        self._untimed[task] = initial.untimed
        return initial.untimed if is_timed_stage_done(initial.history) else initial.need

    def _occupy(
        self, task: int, names: tuple[str, ...], need: Need, started: float, halvings: int
    ) -> None:
        for name in names:
            self._fleet.occupy(name, task, need, self._now)
        self._running[task] = RunningAttempt(names, need, started, halvings)
        self._watches.begin(task, started)

    def _release(self, task: int) -> None:
        running = self._running.pop(task)
        self._waiting.ended(task, max(0.0, self._now - running.started))
        for name in running.devices:
            self._fleet.vacate(name, task, running.need, self._now)
        self._look_again = True

    def _told_of_start(self, task: int, event: ev.StartRefused | ev.Queued | ev.Began) -> None:
        match event:
            case ev.StartRefused():
                self._start_refused(task, event)
            case ev.Queued():
                self._running[task].started = math.inf
            case ev.Began():
                self._running[task].started = self._now
                self._watches.begin(task, self._now)

    def _exited(self, task: int, event: ev.AttemptExited) -> None:
        self._release(task)
        self._tasks.move(task, event, JUDGING, self._now)

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

    def _judged(self, task: int, event: ev.AttemptJudged) -> None:
        attempt = event.attempt
        # An attempt that never became a process has no exit.
        if self._tasks.states[task] is RUNNING:
            self._release(task)
        self._tasks.move(task, event, JUDGING, self._now)
        self._look_again = True  # devices that are avoided may be less suspect now
        if attempt.verdict.completed:
            if self._waiting.completed(task) or self._devices_to_plan_for():
                self._look_at_order()
            self._brake.release()
            for name in attempt.devices:
                self._set_aside(self._fleet.completed_on(name, task, self._now))
            self._write(task)
            return
        earlier = self._history.get(task, ())
        self._history[task] = (*earlier, attempt)
        if attempt.verdict.kind is Kind.STAGE_DONE and not is_timed_stage_done(earlier):
            if task in self._untimed:
                self._waiting.change_need(task, self._untimed[task])
            self._after_attempt(task)
            return
        self._set_aside(self._fleet.failed_on(attempt, task, self._now))
        if attempt.verdict.kind is Kind.DISK_FULL:
            self._pause(attempt.verdict.cause)
        at_work = (name for running in self._running.values() for name in running.devices)
        if self._brake.failed(task, attempt, at_work):
            self._actions.append(ev.Braked(self._brake.tasks, self._brake.cause))
            self._stop_queued("the sweep has stopped")
        self._after_attempt(task)

    def _after_attempt(self, task: int) -> None:
        """Send a task in JUDGING, whose last attempt did not complete it, back to waiting, or give it up."""
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
        if (failure := self._too_few_devices(task)) is not None:
            self._write(task, failure)
        elif not self._fleet.can_have_more_than(
            retry.above_memory, self._waiting.needs[task].devices
        ):
            self._write(task, GiveUp(GiveUpCode.NO_SUCH_MEMORY, memory=retry.above_memory))
        elif not self._waiting.add(task, retry):
            self._look_again = True

    def _too_few_devices(self, task: int) -> GiveUp | None:
        """Return why a task can never be started, if it has more devices at once than can be had."""
        count, most = self._waiting.needs[task].devices, self._most_devices
        if most is None or count <= most:
            return None
        return GiveUp(GiveUpCode.TOO_FEW_DEVICES, devices=count, most_devices=most)

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

    def _stop(self, task: int, verdict: Verdict) -> None:
        running = self._running[task]
        if not running.stopping:
            running.stopping = True
            stop = ev.Stop(self._tasks.ids[task], verdict)
            self._tasks.stories.add(task, stop, self._now)
            self._actions.append(stop)

    def _stop_queued(self, cause: str) -> None:
        """Take back what a cluster has in its queue: where nothing is started, nothing is to begin."""
        for task, running in self._running.items():
            if running.started == math.inf:
                self._stop(task, Verdict(Kind.STOPPED, cause))

    def _leave(self, task: int) -> None:
        self._leaving.remove(task)
        self._actions.append(self._move_out(task))
        self._forget_wish(task)

    def _move_out(self, task: int) -> ev.Withdrawn:
        withdrawn = ev.Withdrawn(self._tasks.ids[task])
        self._tasks.move(task, withdrawn, GONE, self._now)
        self._tasks.stories.end(task)
        self._history.pop(task, None)
        return withdrawn

    def _forget_wish(self, task: int) -> None:
        if task in self._to_fail:
            self._to_fail.remove(task)
            self._actions.append(ev.Obeyed(self._tasks.ids[task]))

    # --- order ----------------------------------------------------------------------------------

    def _look_at_order(self) -> None:
        """Put the tasks that were never tried in the order in which they are started, where it may change."""
        if (order := self._waiting.order) is not None:
            waiting, free_in = self._waiting.never_tried(), self._free_in(order)
            # Those whose start is refused come back; where there is a plan they are a part of it already.
            started = [task for task in self._running if task not in self._history]
            planned = order.sequence(waiting, free_in) if free_in else None
            self._waiting.follow(
                order.sequence([*waiting, *started]) if planned is None else [*started, *planned]
            )

    def _devices_to_plan_for(self) -> list[Device]:
        """Return the devices, if few tasks are left for each, so that a plan pays and costs little."""
        known, waiting, devices = self._most_devices, self._tasks.counts[WAITING], len(self._fleet)
        few = 0 < waiting <= MOST_ROUNDS * devices and waiting * devices <= MOST_PLANNED
        if self._waiting.order is None or known is None or not few or not self._waiting.needs_alike:
            return []
        return self._fleet.in_reach()

    def _free_in(self, order: LongestFirst) -> list[float]:
        """Return how long each device is still in use, also by what was tried before and goes first."""
        free_in = []
        for device in self._devices_to_plan_for():
            begun = ((task, self._running[task].started) for task in device.tasks)
            left = (order.left(task, max(0.0, self._now - at)) for task, at in begun)
            free_in.append(max(left, default=0.0))
        heapq.heapify(free_in)
        for task in self._waiting.tried() if free_in else ():
            heapq.heapreplace(free_in, free_in[0] + order.left(task, 0.0))
        return free_in

    # --- devices --------------------------------------------------------------------------------

    def _set_aside(self, aside: ev.SetAside | None) -> None:
        if aside is not None:
            self._look_again = True
            self._actions.append(aside)

    def _withhold(self, name: str) -> None:
        device = self._fleet[name]
        device.idle = device.within_reach = False
        self._look_again = True  # a task may no longer wait for it in vain

    # --- files ----------------------------------------------------------------------------------

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
