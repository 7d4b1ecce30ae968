"""The dispatcher's decisions: which task next, on which device, when to stop, retry, give up, end.

A state machine without I/O, clock, process or thread: ``handle(event, now)`` returns actions. The same
events at the same times give the same actions, so all of it runs in simulation, repeatable from a seed.
Time is in seconds on a clock of the caller's that never goes back.

Where a task can stand and what can happen to it there is a table, in states.py. An event that cannot happen
where its task stands is a defect of the caller's and raises an error that holds the task's story.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from scheduler.config.sweep import Limits
from scheduler.config.units import format_duration, format_size
from scheduler.core.device_table import Device, Fleet
from scheduler.core.events import (
    Action,
    Activity,
    AttemptExited,
    AttemptJudged,
    CheckActivity,
    CheckDisk,
    CheckOutput,
    CheckpointWritten,
    DeviceBusy,
    DeviceGone,
    DeviceIdle,
    DiskWritable,
    Draining,
    Event,
    Finish,
    Interrupt,
    Output,
    Paused,
    Resumed,
    SetAside,
    Start,
    StartRefused,
    Stop,
    Tick,
    Waits,
    WriteCheckpoint,
    WriteFailed,
)  # fmt: skip
from scheduler.core.retry import GiveUp, GiveUpCode, JudgedAttempt, Policy, Retry
from scheduler.core.states import (
    STORY_LENGTH,
    TRANSITIONS,
    ImpossibleEventError,
    State,
    Step,
    TaskEvent,
)
from scheduler.core.verdict import Kind, Verdict

ENDED_STORIES = 64  # tasks that have ended and whose story is kept a while
LAST_INTERRUPT = 2  # drains, stops; one more leaves
LOOKS_PER_STALL = 4  # signs of life are seen by what changed between two looks
# Looking a member up in its enumeration costs as much as the rest of a move.
WAITING, RUNNING, JUDGING, WRITING, DONE, FAILED = State

OUTPUT_CHECK = 1.0  # seconds between two looks at what an attempt has written
DISK_CHECK = 10.0  # seconds between two tries to write while the sweep is paused


@dataclass(frozen=True, slots=True)
class InitialTask:
    """What is known of a task when a dispatcher starts: its past, and its attempt if one still runs."""

    task: str
    # WAITING, RUNNING, DONE or FAILED.
    state: State = WAITING
    history: tuple[JudgedAttempt, ...] = ()
    # Of the running attempt.
    device: str | None = None
    started: float = 0.0
    halvings: int = 0


class _Watch(IntEnum):
    """What an attempt is looked at for when the time has come."""

    TIMEOUT = 0
    STALL = 1
    OUTPUT = 2


@dataclass(slots=True)
class _Running:
    device: str
    started: float
    halvings: int
    stopping: bool = False


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
        """
        self._policy = policy
        self._limits = limits
        self._now = now
        self._actions: list[Action] = []
        self._ids: list[str] = []
        self._index: dict[str, int] = {}
        self._state: list[State] = []
        self._history: dict[int, tuple[JudgedAttempt, ...]] = {}
        self._running: dict[int, _Running] = {}
        self._counts = [0] * len(State)
        # Waiting tasks stand in exactly one of these.
        self._first_untried = 0  # all tasks from here on that were never tried, in order
        self._ready: list[int] = []  # heap: tried before, any device will do
        self._constrained: dict[int, Retry] = {}  # tried before, not any device will do
        self._delayed: list[tuple[float, int, Retry]] = []  # heap: must not start before that time
        self._untried: list[bool] = []
        # The last steps of the tasks under way, and of those that ended last.
        self._stories: dict[int, list[tuple[float, Step]]] = {}
        self._last_stories: deque[tuple[int, list[tuple[float, Step]]]] = deque(
            maxlen=ENDED_STORIES
        )
        self._fleet = Fleet(alike)
        self._look_again = False  # something changed that may suit a constrained task
        # Heap: (when, task, when its attempt started, what for).
        self._watches: list[tuple[float, int, float, _Watch]] = []
        self._writes: dict[int, GiveUp | None] = {}  # checkpoints asked for, not yet durable
        self._failed_writes: set[int] = set()  # those of them to be asked for again
        self._paused: str | None = None
        self._disk_writable = True  # no write has failed since the last look
        self._next_disk_check = 0.0
        self._interrupts = 0
        self._finished = False
        for name, memory in (devices or {}).items():
            if memory is not None:
                self._fleet[name].total_memory = memory
        for initial in tasks:
            self._add_task(initial)

    # --- what others may ask -------------------------------------------------------------------

    def state(self, task: str) -> State:
        """Return where the task stands."""
        return self._state[self._index[task]]

    def count(self, state: State) -> int:
        """Return how many tasks stand there."""
        return self._counts[state]

    def next_wake(self) -> float | None:
        """Return when ``handle(Tick(), …)`` is due at the latest, or None if only events matter."""
        times = [heap[0][0] for heap in (self._delayed, self._watches) if heap]
        if self._paused is not None:
            times.append(self._next_disk_check)
        if (comes_back := self._fleet.next_return()) is not None:
            times.append(comes_back)
        return min(times, default=None)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event at time ``now``; return what is to be done, in this order.

        Raises:
            ImpossibleEventError: the event cannot happen where its task stands.
        """
        self._now = max(now, self._now)
        match event:  # what comes most often first
            case Activity() | Output():
                self._looked_at(self._expect(event), event)
            case DeviceIdle():
                self._device_idle(event)
            case AttemptExited():
                self._exited(self._expect(event), event)
            case AttemptJudged():
                self._judged(self._expect(event), event)
            case CheckpointWritten():
                self._written(self._expect(event), event)
            case Tick():
                pass
            case DeviceBusy():
                self._withhold(event.device)
            case DeviceGone():
                self._device_gone(event)
            case StartRefused():
                self._start_refused(self._expect(event), event)
            case WriteFailed():
                self._write_failed(event)
            case DiskWritable():
                self._writable_again()
            case Interrupt():
                self._interrupt()
        self._pass_time()
        self._match()
        self._end()
        actions, self._actions = self._actions, []
        return actions

    # --- tasks ---------------------------------------------------------------------------------

    def _add_task(self, initial: InitialTask) -> None:
        task = len(self._ids)
        self._ids.append(initial.task)
        self._index[initial.task] = task
        # What failed before is as if judged just now: that decides where it belongs.
        judged = initial.state is WAITING and bool(initial.history)
        state = JUDGING if judged else initial.state
        self._state.append(state)
        self._counts[state] += 1
        self._untried.append(state is WAITING)
        if initial.history:
            self._history[task] = initial.history
        if state is RUNNING:
            assert initial.device is not None
            self._occupy(task, initial.device, initial.started, initial.halvings)
        elif state is JUDGING:
            self._after_failure(task)

    def _expect(self, event: TaskEvent) -> int:
        """Return the task that an event is about.

        Raises:
            ImpossibleEventError: there is no such task, or this cannot happen where it stands.
        """
        try:
            task = self._index[event.task or ""]
        except KeyError:
            raise ImpossibleEventError(event, None) from None
        state = self._state[task]
        if type(event) not in TRANSITIONS[state]:
            raise ImpossibleEventError(event, state, self._story(task))
        return task

    def _remember(self, task: int, step: Step) -> None:
        """Add a step to the task's story, less Activity and Output, of which there may be thousands."""
        try:
            story = self._stories[task]
        except KeyError:
            self._stories[task] = [(self._now, step)]
            return
        if len(story) == STORY_LENGTH:
            del story[0]
        story.append((self._now, step))

    def _story(self, task: int) -> Sequence[tuple[float, Step]]:
        ended = (story for other, story in reversed(self._last_stories) if other == task)
        return self._stories.get(task) or next(ended, [])

    def _move(self, task: int, step: Step, to: State) -> None:
        """Put a task into a state to which an event or an action leads from where it stands."""
        state = self._state[task]
        if to not in TRANSITIONS[state].get(type(step), ()):
            raise ImpossibleEventError(step, state, self._story(task))
        if to is not state:
            self._counts[state] -= 1
            self._counts[to] += 1
            self._state[task] = to
        self._remember(task, step)

    def _occupy(self, task: int, name: str, started: float, halvings: int) -> None:
        device = self._fleet[name]
        device.attempts += 1
        device.idle = False
        self._running[task] = _Running(name, started, halvings)
        if self._limits.timeout is not None:
            heapq.heappush(
                self._watches, (started + self._limits.timeout, task, started, _Watch.TIMEOUT)
            )
        if self._limits.stall is not None:
            look = started + self._limits.stall / LOOKS_PER_STALL
            heapq.heappush(self._watches, (look, task, started, _Watch.STALL))
        if self._limits.log is not None:
            heapq.heappush(self._watches, (started + OUTPUT_CHECK, task, started, _Watch.OUTPUT))
        if len(self._watches) > 64 + 4 * len(self._running):  # mostly of attempts that have ended
            self._watches = [w for w in self._watches if self._watched(w[1], w[2]) is not None]
            heapq.heapify(self._watches)

    def _watched(self, task: int, started: float) -> _Running | None:
        """Return the attempt that a watch was set for, unless it has ended or been told to."""
        running = self._running.get(task)
        if running is None or running.stopping or running.started != started:
            return None
        return running

    def _number(self, task: int) -> int:
        """Return the number of the task's running or next attempt, from 1."""
        return len(self._history.get(task, ())) + 1

    def _release(self, task: int) -> None:
        running = self._running.pop(task)
        device = self._fleet[running.device]
        device.attempts -= 1
        self._fleet.offer(device, self._now)  # it was seen idle under the attempt already, maybe
        self._look_again = True

    def _exited(self, task: int, event: AttemptExited) -> None:
        self._release(task)
        self._move(task, event, JUDGING)

    def _judged(self, task: int, event: AttemptJudged) -> None:
        attempt = event.attempt
        if self._state[task] is RUNNING:  # an attempt that never became a process has no exit
            self._release(task)
        self._move(task, event, JUDGING)
        self._look_again = True  # devices that are avoided may be less suspect now
        if attempt.verdict.completed:
            self._set_aside(self._fleet.completed_on(attempt.device, task, self._now))
            self._write(task)
            return
        self._history[task] = (*self._history.get(task, ()), attempt)
        self._set_aside(self._fleet.failed_on(attempt, task, self._now))
        if attempt.verdict.kind is Kind.DISK_FULL:
            self._pause(attempt.verdict.cause)
        self._after_failure(task)

    def _after_failure(self, task: int) -> None:
        """Send a task in JUDGING, whose last attempt failed, back to waiting, or give it up."""
        step = self._next_step(task)
        if isinstance(step, GiveUp):
            self._set_aside(self._fleet.gave_up(task, self._now))
            self._write(task, step)
            return
        waits = Waits(self._ids[task], step)
        self._move(task, waits, WAITING)
        self._actions.append(waits)
        if step.at > self._now:
            heapq.heappush(self._delayed, (step.at, task, step))
        else:
            self._queue(task, step)

    def _next_step(self, task: int) -> Retry | GiveUp:
        """Return what becomes of a task that has failed: what fails on a suspect device flees it."""
        history = self._history[task]
        step = self._policy.next_step(history)
        if isinstance(step, Retry) and step.avoid is None and self._fleet.flees(history[-1]):
            return replace(step, avoid=history[-1].device)
        return step

    def _queue(self, task: int, retry: Retry) -> None:
        if not self._fleet.can_have_more_than(retry.above_memory):
            self._write(task, GiveUp(GiveUpCode.NO_SUCH_MEMORY, memory=retry.above_memory))
        elif retry.above_memory is None and retry.avoid is None:
            heapq.heappush(self._ready, task)
        else:
            self._constrained[task] = retry
            self._look_again = True

    def _write(self, task: int, failure: GiveUp | None = None) -> None:
        write = WriteCheckpoint(self._ids[task], failure)
        self._move(task, write, WRITING)
        self._writes[task] = failure
        self._actions.append(write)

    def _written(self, task: int, event: CheckpointWritten) -> None:
        failure = self._writes.pop(task)
        self._move(task, event, DONE if failure is None else FAILED)
        self._history.pop(task, None)
        self._last_stories.append((task, self._stories.pop(task)))
        self._resume()

    # --- devices -------------------------------------------------------------------------------

    def _device_idle(self, event: DeviceIdle) -> None:
        device = self._fleet[event.device]
        device.free_memory = event.free_memory
        if event.total_memory != device.total_memory:
            device.total_memory = event.total_memory
            constrained, self._constrained = self._constrained, {}
            for task, retry in constrained.items():  # some may have become hopeless
                self._queue(task, retry)
        device.idle = device.within_reach = True
        self._fleet.offer(device, self._now)
        self._look_again = True

    def _withhold(self, name: str) -> None:
        device = self._fleet[name]
        device.idle = device.within_reach = False
        self._look_again = True  # a task may no longer wait for it in vain

    def _device_gone(self, event: DeviceGone) -> None:
        self._withhold(event.device)
        for task, running in self._running.items():
            if running.device == event.device:
                self._stop(task, Verdict(Kind.DEVICE_ERROR, event.reason))

    def _set_aside(self, aside: SetAside | None) -> None:
        if aside is not None:
            self._look_again = True
            self._actions.append(aside)

    # --- matching ------------------------------------------------------------------------------

    def _match(self) -> None:
        """Start waiting tasks on idle devices: lower devices first, tasks that waited before first."""
        if self._paused is not None or self._interrupts or self._finished:
            return
        while self._ready or self._next_untried() is not None:
            device = self._fleet.take(self._now)
            if device is None:
                break
            self._start(self._pick(device), device)
        if self._constrained and self._look_again:
            self._match_constrained()
        self._look_again = False

    def _pick(self, device: Device) -> int:
        for task, retry in self._constrained.items():
            if self._fleet.suits(device, retry, self._now):
                del self._constrained[task]
                return task
        if self._ready:
            return heapq.heappop(self._ready)
        untried = self._next_untried()
        assert untried is not None
        self._untried[untried] = False
        return untried

    def _match_constrained(self) -> None:
        for task, retry in list(self._constrained.items()):
            for device in self._fleet.usable(self._now):
                if self._fleet.suits(device, retry, self._now):
                    del self._constrained[task]
                    self._start(task, device)
                    break

    def _next_untried(self) -> int | None:
        while self._first_untried < len(self._untried) and not self._untried[self._first_untried]:
            self._first_untried += 1
        return self._first_untried if self._first_untried < len(self._untried) else None

    def _start(self, task: int, device: Device) -> None:
        history: Sequence[JudgedAttempt] = self._history.get(task, ())
        halvings = 0
        if history:
            step = self._policy.next_step(history)
            assert isinstance(step, Retry)
            halvings = step.halvings
        start = Start(self._ids[task], self._number(task), device.name, halvings)
        self._move(task, start, RUNNING)
        self._occupy(task, device.name, self._now, halvings)
        self._actions.append(start)

    def _start_refused(self, task: int, event: StartRefused) -> None:
        """Put the task back where it was; its device counts as busy until it is seen idle again."""
        device = self._running[task].device
        self._release(task)
        self._withhold(device)
        self._move(task, event, WAITING)
        if task not in self._history:
            self._untried[task] = True
            self._first_untried = min(self._first_untried, task)
            return
        step = self._next_step(task)
        assert isinstance(step, Retry)
        self._queue(task, step)

    # --- time ----------------------------------------------------------------------------------

    def _pass_time(self) -> None:
        while self._delayed and self._delayed[0][0] <= self._now:
            _, task, retry = heapq.heappop(self._delayed)
            self._queue(task, retry)
        while self._watches and self._watches[0][0] <= self._now:
            _, task, started, watch = heapq.heappop(self._watches)
            if self._watched(task, started) is None:
                continue
            if watch is _Watch.TIMEOUT:
                limit = format_duration(self._limits.timeout or 0)
                self._stop(
                    task, Verdict(Kind.TIMEOUT, f"still running after {limit} (limits.timeout)")
                )
            elif watch is _Watch.STALL:
                self._actions.append(CheckActivity(self._ids[task]))
            else:
                self._actions.append(CheckOutput(self._ids[task]))
        if self._paused is not None and self._next_disk_check <= self._now:
            self._next_disk_check = self._now + DISK_CHECK
            self._actions.append(CheckDisk())
        if self._fleet.bring_back(self._now):
            self._look_again = True

    def _looked_at(self, task: int, event: Activity | Output) -> None:
        if self._running[task].stopping:
            return
        if isinstance(event, Output):
            self._output(task, event)
        else:
            self._activity(task, event.at)

    def _activity(self, task: int, at: float) -> None:
        running, stall = self._running[task], self._limits.stall
        if stall is None:
            return
        due = max(at, running.started) + stall
        if due <= self._now:
            limit = format_duration(stall)
            self._stop(
                task,
                Verdict(Kind.STALLED, f"no output and no computing for {limit} (limits.stall)"),
            )
        else:
            look = min(due, self._now + stall / LOOKS_PER_STALL)
            heapq.heappush(self._watches, (look, task, running.started, _Watch.STALL))

    def _output(self, task: int, event: Output) -> None:
        running, most = self._running[task], self._limits.log
        if most is None:
            return
        for what, size in (("log", event.log), ("results file", event.results)):
            if size > most:
                grown = f"its {what} has grown to {format_size(size)}"
                cause = f"{grown}, more than {format_size(most)} (limits.log)"
                self._stop(task, Verdict(Kind.TOO_MUCH_OUTPUT, cause))
                return
        look = self._now + OUTPUT_CHECK
        heapq.heappush(self._watches, (look, task, running.started, _Watch.OUTPUT))

    def _stop(self, task: int, verdict: Verdict) -> None:
        running = self._running[task]
        if not running.stopping:
            running.stopping = True
            stop = Stop(self._ids[task], verdict)
            self._remember(task, stop)
            self._actions.append(stop)

    # --- trouble with files, the user, the end -------------------------------------------------

    def _write_failed(self, event: WriteFailed) -> None:
        if event.task is not None:
            task = self._expect(event)
            self._remember(task, event)
            self._failed_writes.add(task)
        self._pause(event.reason)

    def _pause(self, why: str) -> None:
        if self._paused is None:
            self._actions.append(Paused(why))
        self._paused, self._disk_writable = why, False
        self._next_disk_check = self._now + DISK_CHECK

    def _writable_again(self) -> None:
        self._disk_writable = True
        for task in sorted(self._failed_writes):
            self._actions.append(WriteCheckpoint(self._ids[task], self._writes[task]))
        self._failed_writes.clear()
        self._resume()

    def _resume(self) -> None:
        """End a pause if files can be written again and all that waited for it are."""
        if self._paused is not None and self._disk_writable and not self._writes:
            self._paused = None
            self._actions.append(Resumed())

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            self._actions.append(Draining())
        for task in list(self._running) if self._interrupts > 1 else ():
            self._stop(task, Verdict(Kind.STOPPED, "stopped by the user"))

    def _end(self) -> None:
        if self._finished:
            return
        if (
            self._interrupts > LAST_INTERRUPT
        ):  # what cannot be stopped is left to the next dispatcher
            self._finished = True
            self._actions.append(Finish(130))
            return
        busy = len(self._running) + self._counts[JUDGING] + self._counts[WRITING]
        if self._interrupts > 1:
            # A checkpoint that cannot be written is written by the next dispatcher.
            busy -= len(self._failed_writes)
        if busy:
            return
        if self._counts[WAITING] == 0 and not self._counts[WRITING]:
            self._finished = True
            self._actions.append(Finish(1 if self._counts[FAILED] else 0))
        elif self._interrupts:
            self._finished = True
            self._actions.append(Finish(130))
