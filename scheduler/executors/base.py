"""The contract between the dispatcher and whatever runs its attempts: this machine, or a cluster.

**Order of calls.** The dispatcher calls, in this order,

1. `Executor.adopt` for every attempt that an earlier dispatcher began and nobody has judged;
2. `Executor.foresee`, `Executor.heed` and `Executor.offer_devices`, each once: now devices are told of;
3. `Executor.start`, on devices that were told idle, `Executor.stop`, and `Executor.adopt` for an attempt that
   turns out to have been begun by somebody else, as it likes, while it asks for `Executor.events` whenever
   `Executor.fileno` is readable or `Executor.deadline` has come;
4. `Executor.close`. Attempts that still run go on, and the next dispatcher's executor finds them.

**What is told.** For each task that was started: at most one `Started`, and then exactly one of `Ended`,
`Lost`, `Refused` and `Failed`. A cluster's executor tells `Queued` first, and `Began` just before
`Started`. For each that was adopted: exactly one of `Ended` and `Lost`. Events of one task come in the order
in which they happened. What goes wrong outside is an event, never an exception.
Where devices are lent for a time, `TimeShort` is told when that is nearly over.

**Devices.** An attempt has one device or several, all of them or none: where one cannot be had it is refused,
and the others are told idle again. They are the task's from `start` or `adopt` until its last event has been
handled, and are not told idle before, unless the task shares one (its start line says how much memory it asks
for): then it is told idle while there is room beside the task. Each event is to be handled before the next is
asked for, and whoever answers a task's last event by adopting another attempt on the same devices keeps them.
A `DeviceIdle` holds until its device is given to a task or told busy or gone.

**Files.** The executor writes the spec file, the log, and the lines of the attempts file that tell of start
and end, each of them before it tells of it. The dispatcher appends its own lines (stop, foreign, verdict)
after it was told `Started`, and never before: an attempts file whose size has changed since the request was
made is the sign that somebody else ran the task. Checkpoints are the dispatcher's alone.
The worker inherits an flock on the attempts file, or else the executor holds one for it: while that lock is
held, the attempt runs, whoever else is alive.

**Threads.** All methods are called from one thread and none of them blocks; an executor's own threads speak
through `fileno`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from scheduler.core.events import Began, DeviceBusy, DeviceGone, DeviceIdle, Queued, TimeShort
from scheduler.core.journal_events import DeviceState, MoreTaken, OthersCame, Preloaded, ShareAsked
from scheduler.devices.fairness.claims import Demand
from scheduler.devices.model import Device
from scheduler.storage.attempts_file import AttemptRecord, EndLine, StartLine

GRACE = 10.0  # seconds between TERM and KILL when an attempt is stopped


@dataclass(frozen=True, slots=True)
class StartRequest:
    """All that is needed to start an attempt."""

    # How the attempts file is to say that it began; the executor adds by what it is found again, and when.
    start: StartLine
    task: str
    # All of them at once.
    devices: tuple[str, ...]
    # The first word is looked up on the PATH where the worker is to run; `python` is this interpreter.
    command: Sequence[str]
    # Added to what all attempts have in common.
    environment: Mapping[str, str]
    # What the spec file is to hold: JSON.
    spec: Mapping[str, Any]
    spec_file: Path
    attempts_file: Path
    # Bytes of the attempts file when it was last read.
    attempts_size: int
    # Nothing is started where this file is.
    done_file: Path
    # An older log of this name is kept under another.
    log_file: Path
    # Seconds between TERM and KILL when it is stopped.
    grace: float = GRACE


class Refusal(Enum):
    """Why an attempt was not started, through no fault of any file."""

    # The task has a checkpoint.
    COMPLETED = "completed"
    # An attempt of the task runs.
    RUNNING = "running"
    # The task was run since the request was made.
    CHANGED = "changed"
    # A device is somebody else's.
    DEVICE_HELD = "device held"


@dataclass(frozen=True, slots=True)
class Started:
    """The attempt runs, and its file says so."""

    task: str
    # Time of day in seconds.
    at: float
    # The worker's process, where it is one of this machine.
    pid: int | None = None
    # The CPUs that it is bound to, where that was not known before, as the kernel writes a list of them.
    cores: str | None = None
    # How it was started, as its start line has it.
    launch: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt and all its processes are gone, and this is how; its file says the same.

    Also of a worker whose program could not be started (``end.not_started``).
    """

    task: str
    end: EndLine
    # Bytes: the least that was free on a device of its in its last seconds. None: not known.
    least_free: int | None = None
    # Bytes: the most that it was seen to hold of one device. None: not known.
    taken: int | None = None
    # Others of ours were on a device of its when it ended.
    crowded: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """The attempt and all its processes are gone, and nobody has seen how it ended, if it ever began."""

    task: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The attempt was not started."""

    task: str
    reason: Refusal


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt was not started: a file could not be written, or no process be made."""

    task: str
    error: OSError = field(compare=False)


AttemptEvent = Queued | Began | Started | Ended | Lost | Refused | Failed
DeviceEvent = (
    DeviceIdle | DeviceBusy | DeviceGone | DeviceState | OthersCame | MoreTaken | ShareAsked
)
ExecutorEvent = AttemptEvent | DeviceEvent | TimeShort | Preloaded


class Ahead:
    """What is to come, as the dispatcher sees it when it is asked; here: nothing."""

    def waiting(self) -> int:
        """Return how many tasks wait."""
        return 0

    def next_task(self) -> tuple[str, str] | None:
        """Return the task that starts next, alone on whichever device falls free, and its digest.

        None: there is none.
        """
        return None

    def next_request(self) -> StartRequest:
        """Return what will be asked for when that task starts, but on another device.

        Raises:
            LookupError: there is none.
        """
        raise LookupError("nothing is to come")


class Executor(ABC):
    """Starts attempts, finds them again, stops them, and tells of their end; see this module's text."""

    @property
    @abstractmethod
    def devices(self) -> Sequence[Device]:
        """Every device that may ever be told of."""

    @property
    @abstractmethod
    def where(self) -> str:
        """How the devices were found, for people."""

    @property
    def ends_with_us(self) -> str | None:
        """Why attempts do not go on when the dispatcher leaves, in words; None: they do."""
        return None

    @property
    def scratch(self) -> Path | None:
        """The folder on a node in which each attempt has a folder for its files; None: they are here."""
        return None

    @abstractmethod
    def adopt(self, task: str, devices: tuple[str, ...], known: AttemptRecord | None) -> bool:
        """See to an attempt that an earlier dispatcher began, and that ``known`` tells of.

        Args:
            task: its task.
            devices: where the dispatcher takes it to run; none is given to another task meanwhile.
            known: its record; None: somebody is about to begin it.

        Returns:
            whether it runs, found by what its record says and beyond doubt. If it does not, whatever is
            left of it is ended first, and then its end is told.
        """

    def foresee(self, ahead: Ahead) -> None:  # noqa: B027  # most begin nothing before its time
        """Prepare for what is to come, if that saves time.

        Args:
            ahead: tells what it is; asked only while `start` or `events` is called.
        """

    def heed(self, demand: Callable[[], Demand]) -> None:  # noqa: B027  # most have nobody to share with
        """Share devices with other dispatchers, if there are any, by what the sweep wants.

        Args:
            demand: returns what it wants at that moment; called only while `events` is.
        """

    @abstractmethod
    def offer_devices(self) -> None:
        """Begin to tell of devices."""

    @abstractmethod
    def start(self, request: StartRequest) -> None:
        """Start an attempt on devices that were told idle."""

    @abstractmethod
    def stop(self, task: str) -> None:
        """Stop a task's attempt: TERM to all its processes, KILL after the grace; its end is told as any."""

    @abstractmethod
    def last_sign_of_life(self, task: str) -> float:
        """Return when a running attempt last wrote or computed, as far as looks tell it (monotonic time)."""

    @abstractmethod
    def fileno(self) -> int:
        """Return a descriptor that is readable while there are events."""

    @abstractmethod
    def deadline(self) -> float | None:
        """Return when `events` is to be called though nothing is readable (monotonic time), or None."""

    @abstractmethod
    def events(self) -> Iterator[ExecutorEvent]:
        """Yield what has happened since; does not wait."""

    @abstractmethod
    def close(self) -> None:
        """Give devices back, leave attempts running, tell nothing any more."""
