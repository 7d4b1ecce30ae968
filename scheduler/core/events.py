"""The core's inputs (events) and outputs (actions). Plain data, nothing else."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scheduler.core.retry import GiveUp, JudgedAttempt, Policy, Retry
from scheduler.core.verdict import Verdict

if TYPE_CHECKING:
    from scheduler.config.sweep import Limits
    from scheduler.core.states import InitialTask

# --- events: inputs ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceIdle:
    """The device can take an attempt now. Memory in bytes, None where it is not known."""

    device: str
    free_memory: int | None = None
    total_memory: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceBusy:
    """The device cannot take an attempt: others use it, or its memory is not back yet."""

    device: str


@dataclass(frozen=True, slots=True)
class DeviceGone:
    """The device is lost or in error; it may come back as idle."""

    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class StartRefused:
    """An attempt could not be started because its device was not to be had (leased by others)."""

    task: str


@dataclass(frozen=True, slots=True)
class Queued:
    """The attempt waits in the queue of a cluster's scheduler: its time does not run yet."""

    task: str


@dataclass(frozen=True, slots=True)
class Began:
    """An attempt that was Queued runs since now."""

    task: str


@dataclass(frozen=True, slots=True)
class AttemptExited:
    """The worker is gone and its device can be looked at; the attempt is yet to be judged."""

    task: str


@dataclass(frozen=True, slots=True)
class AttemptJudged:
    """The log and the exit of an attempt have been read; ``attempt.ended`` is in the core's time."""

    task: str
    attempt: JudgedAttempt


@dataclass(frozen=True, slots=True)
class CheckpointWritten:
    """The task's ``.done`` or ``.failed`` is durable."""

    task: str


@dataclass(frozen=True, slots=True)
class WriteFailed:
    """A file could not be written: no room, read-only, quota. ``task`` is the checkpoint's, if it was one."""

    reason: str
    task: str | None = None


@dataclass(frozen=True, slots=True)
class DiskWritable:
    """Files can be written again (the answer to CheckDisk)."""


@dataclass(frozen=True, slots=True)
class Activity:
    """When the attempt last wrote to its log or computed (the answer to CheckActivity)."""

    task: str
    at: float


@dataclass(frozen=True, slots=True)
class Output:
    """How much the attempt has written, in bytes (the answer to CheckOutput)."""

    task: str
    log: int
    # Of its task, earlier attempts included.
    results: int = 0


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants the task's attempt ended; with ``fail`` it is to get no other, running or not."""

    task: str
    fail: bool = False


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """Somebody wants nothing new to be started; with ``now`` what runs to be stopped, too."""

    now: bool = False


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    """Somebody wants the sweep to go on after PauseAsked."""


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """Somebody wants nothing new to be started on the device; without ``on``, takes that back."""

    device: str
    on: bool = True


@dataclass(frozen=True, slots=True)
class AtMost:
    """No attempt is to be started that puts more than so many devices in use; None: all may be.

    What runs goes on. The number follows from the time of day, which the core does not know.
    """

    devices: int | None


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """Somebody wants the changed sweep file taken in: nothing begins or ends until it is, or is refused.

    Attributes:
        fingerprint: of the file as the one who asks has read and checked it.
        refused: why that one found that it cannot be taken in.
    """

    fingerprint: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The sweep file was read again; of what is not in ``order`` any more nothing is started.

    None of ``tasks`` is being judged, or its checkpoint written, in the core.
    """

    # All tasks, in the order in which they are to be started.
    order: tuple[str, ...]
    # Those that are new, or have other settings than before.
    tasks: tuple[InitialTask, ...] = ()
    # Of each of these the values of its axes, where the longest go first.
    values: tuple[tuple[Hashable, ...], ...] = ()
    # When a task is tried again, and when an attempt is stopped; None: as before.
    policy: Policy | None = None
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class ReloadRefused:
    """The sweep file cannot be taken in: all stays as it was."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The user pressed Ctrl-C."""


@dataclass(frozen=True, slots=True)
class TimeShort:
    """The devices are lent for a time that is nearly over: nothing more is started.

    Attributes:
        why: the same in words.
        stop: it is so nearly over that what runs is stopped, too.
    """

    why: str
    stop: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Periodic wake-up."""


# What people ask for: at the terminal, from another shell, by the hour.
Wish = (
    Interrupt
    | TimeShort
    | StopAsked
    | PauseAsked
    | ResumeAsked
    | DrainAsked
    | AtMost
    | ReloadAsked
    | Reloaded
    | ReloadRefused
)
Event = (
    DeviceIdle
    | DeviceBusy
    | DeviceGone
    | StartRefused
    | Queued
    | Began
    | AttemptExited
    | AttemptJudged
    | CheckpointWritten
    | WriteFailed
    | DiskWritable
    | Activity
    | Output
    | Wish
    | Tick
)

# What of a task is measured by itself: what is timed, then the rest.
Stage = Literal["timed", "untimed"]

# --- actions: outputs ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Start attempt number ``number`` of the task; arguments of on_oom halved ``halvings`` times."""

    task: str
    number: int
    # All of them at once, the first ones of their order first.
    devices: tuple[str, ...]
    halvings: int
    # Bytes that it asks for of a device that it shares.
    share: int | None = None
    # Nothing else may run there.
    alone: bool = True
    # What it is to measure; None: all of its task.
    stage: Stage | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the task's attempt; ``verdict`` is what it gets unless it completed before the signal came."""

    task: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class WriteCheckpoint:
    """Write ``.failed``, for that reason, or ``.done`` if there is none."""

    task: str
    failure: GiveUp | None = None

    @property
    def completed(self) -> bool:
        """Whether it is a ``.done``."""
        return self.failure is None


@dataclass(frozen=True, slots=True)
class CheckActivity:
    """Answer with the Activity of the task's attempt."""

    task: str


@dataclass(frozen=True, slots=True)
class CheckOutput:
    """Answer with the Output of the task's attempt."""

    task: str


@dataclass(frozen=True, slots=True)
class CheckDisk:
    """Try whether files can be written again."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The task will be tried again, under these conditions (for the record)."""

    task: str
    retry: Retry


@dataclass(frozen=True, slots=True)
class SetAside:
    """The device gets no more attempts until ``until`` (for the record); ``cause``: of the last failure."""

    device: str
    until: float
    cause: str


@dataclass(frozen=True, slots=True)
class Paused:
    """Nothing is started until files can be written again (for the record)."""

    why: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """Starts go on (for the record)."""


@dataclass(frozen=True, slots=True)
class Draining:
    """Nothing new is started; running attempts end by themselves (for the record)."""

    # Empty: the user has interrupted.
    why: str = ""


@dataclass(frozen=True, slots=True)
class Obeyed:
    """What StopAsked wanted of the task is so, for good, or cannot be any more: it may be forgotten."""

    task: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A task that has left the sweep file is tried no more, now that its attempt is over (for the record)."""

    task: str


@dataclass(frozen=True, slots=True)
class Braked:
    """So many tasks have failed alike and none was completed: nothing new is started (for the record)."""

    tasks: int
    # Of the first of them.
    cause: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The sweep is over."""

    exit_code: int


# Actions of nobody but the dispatcher that has the sweep.
OfTheHolder = Start | Stop | WriteCheckpoint | Obeyed
# Actions that are done when they are written down.
Record = Waits | Withdrawn | SetAside | Paused | Resumed | Draining | Braked
Action = (
    Start
    | Stop
    | WriteCheckpoint
    | CheckActivity
    | CheckOutput
    | CheckDisk
    | Record
    | Obeyed
    | Finish
)
