"""What a journal tells: one type per event. Writer, progress, messages and screen share them.

``NAME`` and the fields are the line's keys on disk, so none may be renamed without reading the old one
too. Times are times of day in seconds, memory is in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from scheduler.core.retry import RetryReason
from scheduler.core.snapshot import Limit, ListedDevice, OtherProcess, Snapshot


@dataclass(frozen=True, slots=True)
class DispatcherStarted:
    """A dispatcher has the sweep; ``where``: its devices in words; ``root``: of its folders, absolute."""

    NAME: ClassVar = "dispatcher_started"
    pid: int
    # When its process was started, in clock ticks since boot: a pid alone may be another's by now.
    start_ticks: int
    tasks: int
    devices: Sequence[ListedDevice]
    where: str
    root: str = ""
    # Tasks of the sweep file that this run was told to leave out.
    left_out: int = 0
    # The digest of the copy of the code that attempts run from; None: from where the code is.
    snapshot: str | None = None
    # Devices in use at once at any hour; None: all that are idle, or AtMost follows.
    at_most: int | None = None
    # Among the sweeps that wait for devices of the same machine.
    priority: int = 0


@dataclass(frozen=True, slots=True)
class DispatcherEnded:
    """The dispatcher goes; without an exit code it leaves running attempts to the next one."""

    NAME: ClassVar = "dispatcher_ended"
    exit_code: int | None
    left_running: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Preloaded:
    """Attempts are forked from a process that loaded a module in so many seconds, or, with ``why``, not."""

    NAME: ClassVar = "preloaded"
    module: str
    seconds: float | None = None
    why: str | None = None
    # False: attempts are forked, but no worker prepares for its task before it has a device.
    prepares: bool = True
    # Without it, for whose worker alone that is so.
    task: str | None = None


@dataclass(frozen=True, slots=True)
class SweepLost:
    """Another dispatcher has the sweep, since somebody removed the lock file."""

    NAME: ClassVar = "sweep_lost"


@dataclass(frozen=True, slots=True)
class CheckpointRejected:
    """A checkpoint does not hold; it is kept under another name."""

    NAME: ClassVar = "checkpoint_rejected"
    task: str
    why: str
    kept_as: str


@dataclass(frozen=True, slots=True)
class CheckpointsInDoubt:
    """Checkpoints do not hold for the same reason; each is set aside when its task starts anew."""

    NAME: ClassVar = "checkpoints_in_doubt"
    tasks: Sequence[str]
    # What they said: completed, failed.
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class CheckpointsTakenAgain:
    """Checkpoints that were set aside hold again."""

    NAME: ClassVar = "checkpoints_taken_again"
    tasks: Sequence[str]


@dataclass(frozen=True, slots=True)
class CheckpointsJudgedAgain:
    """The logs of checkpoints were judged again, since ``validate`` has changed; ``outcome`` in words."""

    NAME: ClassVar = "checkpoints_judged_again"
    tasks: Sequence[str]
    why: str
    outcome: str


@dataclass(frozen=True, slots=True)
class UnlistedTask:
    """An attempt runs of a task that is no longer in the sweep."""

    NAME: ClassVar = "unlisted_task"
    task: str
    # Its supervisor's.
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device fell idle or busy; ``reason`` says in words why."""

    NAME: ClassVar = "device"
    device: str
    idle: bool
    reason: str
    # It cannot be used at all: lost, or in error.
    gone: bool = False


@dataclass(frozen=True, slots=True)
class ShareAsked:
    """Other dispatchers of the machine are asked for devices that fall free, or, without ``on``, no more."""

    NAME: ClassVar = "share_asked"
    on: bool


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt's worker runs."""

    NAME: ClassVar = "attempt_started"
    task: str
    attempt: int
    devices: tuple[str, ...]
    started: float
    # The worker's.
    pid: int | None = None
    # Bytes that it asks for of a device that it shares; None: it has it alone.
    share: int | None = None
    # How it was started: see storage/attempts_file.py; None: as a program of its own.
    launch: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptAdopted:
    """An attempt that another dispatcher started was taken over."""

    NAME: ClassVar = "attempt_adopted"
    task: str
    attempt: int
    devices: tuple[str, ...]
    started: float
    share: int | None = None


@dataclass(frozen=True, slots=True)
class AttemptStopping:
    """An attempt is being stopped."""

    NAME: ClassVar = "stopping"
    task: str
    attempt: int
    why: str


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt's processes are gone."""

    NAME: ClassVar = "attempt_ended"
    task: str
    attempt: int
    devices: tuple[str, ...]
    ended: float
    code: int | None = None
    signal: int | None = None
    leftovers: int = 0


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt was judged, and not completed; ``foreign``: others were on its devices."""

    NAME: ClassVar = "attempt_failed"
    task: str
    attempt: int
    devices: tuple[str, ...]
    verdict: str
    cause: str
    seconds: float
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class OthersCame:
    """Others came to the device of an attempt; ``hidden_memory`` is held by none in sight."""

    NAME: ClassVar = "foreign_process"
    device: str
    processes: Sequence[OtherProcess]
    hidden_memory: int = 0


@dataclass(frozen=True, slots=True)
class MoreTaken:
    """A task's attempt holds more memory of a device that it shares than it had asked for; both in bytes."""

    NAME: ClassVar = "more_memory_taken"
    task: str
    device: str
    taken: int
    asked: int


@dataclass(frozen=True, slots=True)
class TaskWaits:
    """A task will be tried again; on disk ``why`` says the reason in words."""

    NAME: ClassVar = "waits"
    task: str
    not_before: float
    reason: RetryReason


@dataclass(frozen=True, slots=True)
class TaskCompleted:
    """A task's ``.done`` is durable. Its digest and its log's prove it again, should it be damaged."""

    NAME: ClassVar = "completed"
    task: str
    devices: tuple[str, ...]
    attempts: int
    seconds: float
    summary: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None
    log_sha256: str | None = None
    # Of a long log, in place of the other.
    log_crc32: str | None = None


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A task's ``.failed`` is durable."""

    NAME: ClassVar = "failed"
    task: str
    devices: tuple[str, ...]
    attempts: int
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class DeviceSetAside:
    """A device gets no attempts until then."""

    NAME: ClassVar = "set_aside"
    device: str
    until: float
    why: str


@dataclass(frozen=True, slots=True)
class SweepPaused:
    """Nothing is started until files can be written again."""

    NAME: ClassVar = "paused"
    why: str


@dataclass(frozen=True, slots=True)
class SweepResumed:
    """Starts go on."""

    NAME: ClassVar = "resumed"


@dataclass(frozen=True, slots=True)
class SweepDraining:
    """Nothing new is started; so many running attempts may end. ``why``: empty after Ctrl-C."""

    NAME: ClassVar = "draining"
    running: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class SweepBraked:
    """The first tasks all failed alike: nothing new is started, what runs may end."""

    NAME: ClassVar = "braked"
    why: str


@dataclass(frozen=True, slots=True)
class Notified:
    """The command of ``notify`` is about to be run; ``occasion`` is one of those that it can be run on."""

    NAME: ClassVar = "notified"
    occasion: str


@dataclass(frozen=True, slots=True)
class NotificationFailed:
    """The command of ``notify`` did not do what it was to."""

    NAME: ClassVar = "notification_failed"
    occasion: str
    why: str


@dataclass(frozen=True, slots=True)
class TrackingFailed:
    """Measurements did not all go where ``track`` says."""

    NAME: ClassVar = "tracking_failed"
    why: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """A user asked for a task's attempt to be ended, and with ``fail`` for it to get no other."""

    NAME: ClassVar = "stop_asked"
    task: str
    fail: bool
    by: str


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """A user asked for nothing to be started, and with ``now`` for what runs to be stopped."""

    NAME: ClassVar = "pause_asked"
    now: bool
    by: str


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    """A user asked for starts to go on; ``by`` is empty if the file of the pause was removed."""

    NAME: ClassVar = "resume_asked"
    by: str


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """A user asked for nothing to be started on a device, or, without ``on``, took that back."""

    NAME: ClassVar = "drain_asked"
    device: str
    on: bool
    by: str


@dataclass(frozen=True, slots=True)
class AtMost(Limit):
    """So many devices may be in use at once, from now on."""

    NAME: ClassVar = "at_most"


@dataclass(frozen=True, slots=True)
class SweepReloaded:
    """The changed sweep file was taken in: so many tasks are new, changed, no longer in it."""

    NAME: ClassVar = "reloaded"
    by: str
    new: int
    changed: int
    removed: int
    # Of the sweep from now on; None: an earlier version does not say.
    priority: int | None = None
    # What else differs, each as ``priority: 0 → 5``; None: an earlier version does not say.
    settings: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class ReloadRefused:
    """A user asked for the changed sweep file to be taken in; it was not, and all stays as it was."""

    NAME: ClassVar = "reload_refused"
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class TaskWithdrawn:
    """A task that left the sweep file while its attempt ran is tried no more."""

    NAME: ClassVar = "withdrawn"
    task: str


@dataclass(frozen=True, slots=True)
class WishIgnored:
    """A file that asks for something is not believed."""

    NAME: ClassVar = "wish_ignored"
    file: str
    why: str


JournalEvent = (
    DispatcherStarted | DispatcherEnded | Preloaded | SweepLost | CheckpointRejected
    | CheckpointsInDoubt | CheckpointsTakenAgain | CheckpointsJudgedAgain | UnlistedTask | DeviceState
    | ShareAsked | AttemptStarted | AttemptAdopted | AttemptStopping | AttemptEnded | AttemptFailed
    | OthersCame | MoreTaken | TaskWaits | TaskCompleted | TaskFailed | DeviceSetAside | SweepPaused
    | SweepResumed | SweepDraining | SweepBraked | Notified | NotificationFailed | TrackingFailed
    | StopAsked | PauseAsked | ResumeAsked | DrainAsked | AtMost | SweepReloaded | ReloadRefused
    | TaskWithdrawn | WishIgnored | Snapshot
)  # fmt: skip

# The line has `device`, the first of them, and all only where there are several.
OnDevices = (
    AttemptStarted | AttemptAdopted | AttemptEnded | AttemptFailed | TaskCompleted | TaskFailed
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal: an event and its time of day in seconds."""

    at: float
    event: JournalEvent
