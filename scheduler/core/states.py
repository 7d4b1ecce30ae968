"""Where a task can stand, and what can happen to it there.

Everything that changes a task's state is in `TRANSITIONS`, by the event that is handled or the action that is
decided; what is not in it cannot happen::

    WAITING --Start--> RUNNING
    WAITING --WriteCheckpoint--> WRITING
    WAITING --StopAsked--> WAITING
    WAITING --Withdrawn--> GONE
    RUNNING --StartRefused--> WAITING
    RUNNING --Queued--> RUNNING
    RUNNING --Began--> RUNNING
    RUNNING --Activity--> RUNNING
    RUNNING --Output--> RUNNING
    RUNNING --Stop--> RUNNING
    RUNNING --StopAsked--> RUNNING
    RUNNING --AttemptExited--> JUDGING
    RUNNING --AttemptJudged--> JUDGING
    JUDGING --AttemptJudged--> JUDGING
    JUDGING --Waits--> WAITING
    JUDGING --WriteCheckpoint--> WRITING
    JUDGING --StopAsked--> JUDGING
    JUDGING --Withdrawn--> GONE
    WRITING --WriteFailed--> WRITING
    WRITING --CheckpointWritten--> DONE
    WRITING --CheckpointWritten--> FAILED
    WRITING --StopAsked--> WRITING
    DONE --StopAsked--> DONE
    DONE --Withdrawn--> GONE
    FAILED --StopAsked--> FAILED
    FAILED --Withdrawn--> GONE

Seven of them need a word:

* A waiting task is given up without another attempt when no device can have the memory it needs, or when
  somebody asks for it.
* An attempt that never became a process has no exit: it is judged while it runs. The same holds for a
  task that turns out to be completed by others.
* On a cluster an attempt may be queued before it begins: it has its device, and is not timed.
* An attempt shows signs of life, and writes, while it is being stopped, too; that changes nothing then.
* A checkpoint for which there is no room is asked for again; its task stays where it is.
* Somebody may ask at any time for a task to be stopped; what follows from it are actions of their own.
* A task that leaves the sweep file leaves at once, or when its attempt is over; one whose settings change
  leaves, too, and another of its name takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from scheduler.config.sweep import Sweep
from scheduler.core.events import (
    Activity,
    AttemptExited,
    AttemptJudged,
    Began,
    CheckpointWritten,
    Output,
    Queued,
    Start,
    StartRefused,
    Stop,
    StopAsked,
    Waits,
    Withdrawn,
    WriteCheckpoint,
    WriteFailed,
)
from scheduler.core.retry import JudgedAttempt

# Events and actions that are about one task. (A WriteFailed is, if it names one.)
TaskEvent = (
    StartRefused
    | Queued
    | Began
    | Activity
    | Output
    | AttemptExited
    | AttemptJudged
    | CheckpointWritten
    | WriteFailed
    | StopAsked
)
TaskAction = Start | Stop | Waits | Withdrawn | WriteCheckpoint
Step = TaskEvent | TaskAction
# The newest steps of a task that are kept.
STORY_LENGTH = 20


class State(IntEnum):
    """Where a task stands."""

    WAITING = 0
    RUNNING = 1
    JUDGING = 2
    WRITING = 3
    DONE = 4
    FAILED = 5
    GONE = 6


@dataclass(frozen=True, slots=True)
class Need:
    """What a task needs: how many devices, and what of each."""

    # All of them at once, or none.
    devices: int = 1
    # Bytes of a device that is shared; None: not said.
    memory: int | None = None
    # No other attempt may be on them: a task that is timed, or of a sweep that does not share.
    alone: bool = True
    # It is what a task leaves for later that measures speed first.
    later: bool = False

    @classmethod
    def of(cls, sweep: Sweep, task: str) -> Need:
        """Return what a task of a sweep needs: one that has several devices has them alone."""
        devices = sweep.devices_of(task)
        if (
            devices > 1 and not sweep.on_cluster
        ):  # there of one slot; what its job has is its executor's
            return cls(devices)
        if not sweep.may_share(task) or task not in sweep.untimed:
            return ONE_ALONE
        return cls.to_share(sweep)

    @classmethod
    def of_untimed_stage(cls, sweep: Sweep, task: str) -> Need | None:
        """Return what a task needs once its speed is measured, if it measures the rest apart."""
        if task not in sweep.staged or not sweep.may_share(task):
            return None
        return replace(cls.to_share(sweep), later=True)

    @classmethod
    def to_share(cls, sweep: Sweep) -> Need:
        """Return what a task needs that shares its device."""
        share = sweep.devices.share
        return cls(memory=None if share is None else share.memory, alone=False)


ONE_ALONE = Need()


@dataclass(frozen=True, slots=True)
class InitialTask:
    """What is known of a task when a dispatcher starts: its past, and its attempt if one still runs."""

    task: str
    # WAITING, RUNNING, DONE or FAILED.
    state: State = State.WAITING
    history: tuple[JudgedAttempt, ...] = ()
    need: Need = ONE_ALONE
    # Instead of that, once its timed part is done; None: it is not measured in parts.
    untimed: Need | None = None
    # Of the running attempt: its devices, and what it has of each.
    devices: tuple[str, ...] = ()
    has: Need = ONE_ALONE
    started: float = 0.0
    halvings: int = 0


TRANSITIONS: Mapping[State, Mapping[type[Step], frozenset[State]]] = {
    State.WAITING: {
        Start: frozenset({State.RUNNING}),
        WriteCheckpoint: frozenset({State.WRITING}),
        StopAsked: frozenset({State.WAITING}),
        Withdrawn: frozenset({State.GONE}),
    },
    State.RUNNING: {
        StartRefused: frozenset({State.WAITING}),
        Queued: frozenset({State.RUNNING}),
        Began: frozenset({State.RUNNING}),
        Activity: frozenset({State.RUNNING}),
        Output: frozenset({State.RUNNING}),
        Stop: frozenset({State.RUNNING}),
        StopAsked: frozenset({State.RUNNING}),
        AttemptExited: frozenset({State.JUDGING}),
        AttemptJudged: frozenset({State.JUDGING}),
    },
    State.JUDGING: {
        AttemptJudged: frozenset({State.JUDGING}),
        Waits: frozenset({State.WAITING}),
        WriteCheckpoint: frozenset({State.WRITING}),
        StopAsked: frozenset({State.JUDGING}),
        Withdrawn: frozenset({State.GONE}),
    },
    State.WRITING: {
        WriteFailed: frozenset({State.WRITING}),
        CheckpointWritten: frozenset({State.DONE, State.FAILED}),
        StopAsked: frozenset({State.WRITING}),
    },
    State.DONE: {StopAsked: frozenset({State.DONE}), Withdrawn: frozenset({State.GONE})},
    State.FAILED: {StopAsked: frozenset({State.FAILED}), Withdrawn: frozenset({State.GONE})},
    State.GONE: {},
}


class ImpossibleEventError(Exception):
    """An event, or an action, that cannot be where its task stands: a defect of the caller's, or the core's.

    Attributes:
        event: the event or action.
        state: where the task stands; None if there is no such task.
        story: the task's last steps, oldest first, each with its time; of a task that ended long ago
            nothing is kept.
    """

    def __init__(
        self, event: Step, state: State | None, story: Sequence[tuple[float, Step]] = ()
    ) -> None:
        self.event = event
        self.state = state
        self.story = tuple(story)
        where = "there is no such task" if state is None else f"the task is {state.name}"
        lines = [f"{event}: {where}", *(f"{at:14.3f}  {step}" for at, step in self.story)]
        super().__init__("\n".join(lines))
