"""A sweep's progress as plain values: what is known of a task, of a device, and the sum of it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from scheduler.core.retry import RetryReason

TaskState = Literal["waiting", "running", "being judged", "completed", "failed"]
WAITING: Final = "waiting"
RUNNING: Final = "running"
ENDED: Final = "being judged"
DONE: Final = "completed"
FAILED: Final = "failed"


@dataclass(slots=True)
class TaskView:
    """One task as people see it. Times are times of day in seconds."""

    state: TaskState = WAITING
    attempts: int = 0
    # On which its last attempt ran.
    devices: tuple[str, ...] = ()
    # The model of the GPU, or GPUs, that it was completed on, where its checkpoint tells.
    model: str | None = None
    started: float | None = None
    # Of the attempt that completed it, with the one that did the timed stage before it.
    seconds: float | None = None
    # Of a task in two stages, once the timed one is done: how many attempts that took, and the seconds of the
    # one that did it.
    stage_attempts: int = 0
    stage_seconds: float = 0.0
    # Of the last failure.
    cause: str | None = None
    # Why it is to be tried again, if it is.
    waits: RetryReason | None = None
    not_before: float = 0.0
    # Why its checkpoint does not hold.
    rejected: str | None = None
    # The path of the checkpoint that holds, where it is not at its usual one: it was set aside.
    checkpoint: str | None = None
    # How the sweep file differs, as to this task, from what the running dispatcher read.
    note: str | None = None
    # The dispatcher that runs was told to leave it out.
    left_out: bool = False
    summary: Mapping[str, Any] | None = None
    # The code that its last attempt ran: see executors/source_version.py.
    source: Mapping[str, Any] | None = None
    # What of it is not that of the newest attempt: paths, or one empty name for the commit.
    other_code: tuple[str, ...] = ()

    @property
    def attempts_text(self) -> str:
        """How many attempts there were, of a task in two stages those of each: ``1 + 1``; nothing if none."""
        if not self.stage_attempts:
            return str(self.attempts or "")
        return f"{self.stage_attempts} + {self.attempts - self.stage_attempts}"

    def ran_for(self, now: float) -> float | None:
        """Return how long a task that runs has run, in seconds, with its timed stage if that is done."""
        return None if self.started is None else now - self.started + self.stage_seconds


@dataclass(slots=True)
class DeviceView:
    """One device as people see it."""

    name: str = ""
    index: str = ""
    idle: bool = False
    # Lost, or in error.
    gone: bool = False
    reason: str = "not looked at yet"
    # Whose attempts run on it: one's, or those of several that share it.
    tasks: list[str] = field(default_factory=list)
    # For how many attempts that share it there is room, and whether those on it do.
    room: int = 1
    sharing: bool = False
    aside_until: float = 0.0
    aside_why: str = ""
    # When it fell free, while a task waited; to measure the gap.
    free_since: float | None = None
    # The CPUs that attempts started on it are bound to: 0-3,8. None: to none.
    cores: str | None = None
    # Somebody wants nothing to be started on it.
    drained: bool = False

    def share_of(self, task: str) -> str:
        """Return how many there are beside a task that shares the device, such as `` (2 of 3)``."""
        if not self.sharing or task not in self.tasks:
            return ""
        return f" ({self.tasks.index(task) + 1} of {max(self.room, len(self.tasks))})"

    @property
    def label(self) -> str:
        """How people call it: ``GPU 0``, ``GPU 0:1`` (a MIG instance), ``cpu:0``, ``slurm:0``, ``ray:0``.

        One that is not the dispatcher's own, as of an attempt taken over, has no index but its UUID.
        """
        if self.index.startswith(("GPU-", "MIG-")):
            return f"{self.index[:12]}…"
        return self.index if self.index.startswith(("cpu", "slurm", "ray")) else f"GPU {self.index}"


@dataclass(frozen=True, slots=True)
class Holder:
    """The dispatcher at work: its process, and since when (time of day in seconds)."""

    # None: it is not known which.
    pid: int | None
    # When its process was started, in clock ticks since boot: a pid alone may be another's by now.
    start_ticks: int
    at: float


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """A device that the sweep may use; ``index`` is what people call it by."""

    id: str
    name: str
    index: str
    # The CPUs that its attempts are bound to, as the kernel writes a list of them: 0-3,8. None: to none.
    cores: str | None = None
    # For how many attempts that share it there is room.
    room: int = 1


@dataclass(frozen=True, slots=True)
class OtherProcess:
    """Another user's process on a device; what is not known of it is None."""

    pid: int | None = None
    name: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """How many devices may be in use at once; None: all."""

    devices: int | None = None
    # A time of day in seconds; None: for good.
    until: float | None = None
    # The zone of the hours that it goes by; None: this machine's.
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the events before told, less what checkpoints tell of ended tasks."""

    NAME: ClassVar = "snapshot"
    holder: Holder | None
    trouble: str | None
    draining: bool
    idle_seconds: float
    lost_seconds: float
    gaps: Sequence[float]
    durations: Sequence[float]
    devices: Mapping[str, DeviceView]
    tasks: Mapping[str, TaskView]
    told: Sequence[str] = ()
    braked: str | None = None
    at_most: int | None = None
    priority: int = 0
    asks_for_share: bool = False
    at_most_until: float | None = None
    at_most_zone: str | None = None
    drains_for: str = ""
