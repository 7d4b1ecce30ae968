"""Deciding whether a device is idle, from readings alone: no clock, no I/O.

A device is idle when its utilisation is under the limit, enough of its memory is free and nobody
else computes on it, for as long as the rule's ``idle_for`` says. After an attempt of our own we
know who used it, so its memory need only be back, and no foreign process there. Where attempts of our own
share it, there is room for one more as long as nobody else is there; whether its memory suffices, the core
counts.

What NVML cannot tell (utilisation of a MIG instance, processes in a container) is not held against
a device. But memory that no visible process accounts for belongs to somebody: another container, or
a user whose processes the system hides.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from scheduler.config.units import format_size
from scheduler.devices.model import Process, Reading

# Between what a GPU without any process shows beside the driver's reserve (nothing) and what a CUDA
# context alone takes (612 MiB); both measured on an H100 with driver 580. Contexts are smaller on
# smaller GPUs.
HIDDEN_MEMORY = 128 * 2**20
# Drivers before 510 count their reserve as used; on an H100 it is 480 MiB.
UNKNOWN_RESERVE = 2**30


@dataclass(frozen=True, slots=True)
class IdleRule:
    """What a user demands of a device before a task is put on it."""

    max_utilization: int  # percent; this much is still idle
    min_free_memory: int  # bytes
    idle_for: float  # seconds
    max_hidden_memory: int = HIDDEN_MEMORY  # bytes in use that no visible process accounts for


class IdleCode(Enum):
    """Why a device is idle or is not."""

    IDLE = "idle"
    NOT_FOR_LONG = "not for long"
    LOST = "lost"
    IN_ERROR = "in error"
    UNREAD = "unread"
    LEASED = "leased"
    LEFT = "left to others"
    OTHERS_PROCESS = "others' process"
    OWN_PROCESS = "own process"
    STILL_HELD = "still held"
    HIDDEN_MEMORY = "hidden memory"
    UTILIZATION = "utilisation"
    TOO_SMALL = "too small"
    LITTLE_MEMORY = "little memory"


_TEXTS = {
    IdleCode.IDLE: "idle",
    IdleCode.NOT_FOR_LONG: "idle for {seconds:.1f} s of {limit:g} s",
    IdleCode.LOST: "lost: {subject}",
    IdleCode.IN_ERROR: "in error: {subject}",
    IdleCode.UNREAD: "{subject}",
    IdleCode.LEASED: "{subject}",
    IdleCode.LEFT: "left to another sweep ({subject})",
    IdleCode.OTHERS_PROCESS: "busy: {processes}",
    IdleCode.OWN_PROCESS: "busy: our own {processes}",
    IdleCode.STILL_HELD: "busy: {memory} still held after our own last attempt",
    IdleCode.HIDDEN_MEMORY: "busy: {memory} held by processes that cannot be seen from here",
    IdleCode.UTILIZATION: "busy: utilisation {percent} % (limit {limit:g} %)",
    IdleCode.TOO_SMALL: "too small: {memory} in all, {wanted} wanted (min_free_memory)",
    IdleCode.LITTLE_MEMORY: "busy: {memory} free of {wanted} wanted",
}


@dataclass(frozen=True, slots=True)
class IdleReason:
    """A code with its arguments."""

    code: IdleCode
    # Who or what it is about: an error, whoever holds the lease, what is not known of an idle device.
    subject: str = ""
    # What was measured, and what is demanded: bytes, percent or seconds.
    measured: float = 0
    limit: float = 0
    processes: tuple[Process, ...] = ()

    @property
    def kind(self) -> tuple[object, ...]:
        """What stays the same while only figures change."""
        who = tuple((process.name, process.user) for process in self.processes)
        return self.code, self.subject, who

    @property
    def text(self) -> str:
        """The reason in words."""
        if self.code is IdleCode.IDLE and self.subject:
            return f"idle ({self.subject} not known)"
        return _TEXTS[self.code].format(
            subject=self.subject,
            seconds=self.measured,
            percent=self.measured,
            memory=format_size(self.measured),
            limit=self.limit,
            wanted=format_size(self.limit),
            processes=_describe(self.processes),
        )


@dataclass(frozen=True, slots=True)
class Idleness:
    """The judgement on one reading."""

    idle: bool
    reason: IdleReason
    until: float | None = None  # when it becomes idle if nothing changes; None: cannot be told
    foreign: tuple[Process, ...] = ()  # others' processes that are visible on the device
    # Bytes that no visible process accounts for, where they are more than the rule allows. During
    # an attempt of our own they are foreign only if NVML lists its process.
    hidden_memory: int = 0


class IdleTracker:
    """Judges the readings of one device, in the order they were taken."""

    def __init__(self, rule: IdleRule) -> None:
        self._rule = rule
        # Since when nothing has been in the way; None: something is.
        self.quiet_since: float | None = None
        self._others_came = False  # somebody else was there since the device was last idle

    def judge(
        self,
        reading: Reading,
        now: float,
        own_pids: Collection[int],
        *,
        after_own: bool,
        sharing: bool = False,
        servers: Collection[int] = (),
    ) -> Idleness:
        """Return whether the device is idle, and why not if it is not.

        Args:
            reading: what was read.
            now: when, in seconds of a clock that does not jump.
            own_pids: processes of our own attempts; they are never foreign.
            after_own: the last to use the device was an attempt of ours. Its utilisation, an
                average over the last second, and ``idle_for`` are then not waited for, unless
                somebody else came in between.
            sharing: attempts of our own are there that one more may join. Then only others are in the
                way; memory that nobody in sight holds is for the caller to judge.
            servers: processes by which attempts of ours compute; they are in nobody's way.
        """
        foreign = _foreign(reading, {*own_pids, *servers})
        if foreign:
            self._others_came = True
        trusted = sharing or (after_own and not self._others_came)
        hidden = _hidden_memory(reading)
        hidden = hidden if hidden > self._hidden_limit(reading) else 0
        obstacle = _others(reading, foreign)
        if obstacle is None and not sharing:
            obstacle = self._obstacle(reading, own_pids, hidden, trusted=trusted)
        if obstacle is not None:
            self.quiet_since = None
            return Idleness(False, obstacle, foreign=foreign, hidden_memory=hidden)
        if self.quiet_since is None or self.quiet_since > now:
            self.quiet_since = now
        quiet = now - self.quiet_since
        if not trusted and quiet < self._rule.idle_for:
            until = self.quiet_since + self._rule.idle_for
            reason = IdleReason(IdleCode.NOT_FOR_LONG, measured=quiet, limit=self._rule.idle_for)
            return Idleness(False, reason, until)
        self._others_came = self._others_came and sharing
        reason = IdleReason(IdleCode.IDLE, _unknowns(reading))
        return Idleness(True, reason, hidden_memory=hidden if sharing else 0)

    def _obstacle(
        self,
        reading: Reading,
        own_pids: Collection[int],
        hidden: int,
        *,
        trusted: bool,
    ) -> IdleReason | None:
        """Return what else keeps the device from being used now, the most telling cause first."""
        rule = self._rule
        own = tuple(p for p in reading.processes or () if p.exists and p.pid in own_pids)
        if own:
            return IdleReason(IdleCode.OWN_PROCESS, processes=own)
        if hidden:
            code = IdleCode.STILL_HELD if trusted else IdleCode.HIDDEN_MEMORY
            return IdleReason(code, measured=hidden)
        utilization = reading.utilization
        if not trusted and utilization is not None and utilization > rule.max_utilization:
            most = rule.max_utilization
            return IdleReason(IdleCode.UTILIZATION, measured=utilization, limit=most)
        return self._lack_of_memory(reading)

    def _hidden_limit(self, reading: Reading) -> int:
        if reading.used_memory is None or reading.reserved_memory is not None:
            return self._rule.max_hidden_memory
        return self._rule.max_hidden_memory + UNKNOWN_RESERVE

    def _lack_of_memory(self, reading: Reading) -> IdleReason | None:
        wanted = self._rule.min_free_memory
        if reading.total_memory is not None and reading.total_memory < wanted:
            total = reading.total_memory
            return IdleReason(IdleCode.TOO_SMALL, measured=total, limit=wanted)
        free = reading.free_memory
        if free is not None and free < wanted:
            return IdleReason(IdleCode.LITTLE_MEMORY, measured=free, limit=wanted)
        return None


def _others(reading: Reading, foreign: tuple[Process, ...]) -> IdleReason | None:
    """Return what keeps the device from anybody's use, or us from it because somebody is there."""
    if reading.error is not None:
        return IdleReason(IdleCode.LOST if reading.lost else IdleCode.IN_ERROR, reading.error)
    return IdleReason(IdleCode.OTHERS_PROCESS, processes=foreign) if foreign else None


def _foreign(reading: Reading, own_pids: Collection[int]) -> tuple[Process, ...]:
    """Return the processes that are others' and certainly there.

    A pid that does not exist is a process in another container, or one that the driver made up
    (0 and 4294967295 have been seen after an update): the memory in use tells which.
    """
    return tuple(p for p in reading.processes or () if p.exists and p.pid not in own_pids)


def _hidden_memory(reading: Reading) -> int:
    """Return how many bytes are in use on the device that no visible process accounts for.

    Where NVML does not tell the device's memory, what it tells of processes that cannot be seen
    must do; where it does not tell a visible process's memory, that may be all there is.
    """
    processes = reading.processes or ()
    if reading.used_memory is None:
        return sum(p.used_memory or 0 for p in processes if not p.exists)
    visible = [p.used_memory for p in processes if p.exists]
    if None in visible:
        return 0
    return max(0, reading.used_memory - reading.display_memory - sum(m or 0 for m in visible))


def _describe(processes: tuple[Process, ...]) -> str:
    if not processes:
        return ""
    first = processes[0]
    who = ", ".join(w for w in (first.name, first.user and f"user {first.user}") if w)
    text = f"process {first.pid}" + (f" ({who})" if who else "")
    text += f" holds {format_size(first.used_memory)}" if first.used_memory else " is on it"
    others = len(processes) - 1
    return text + (f", and {others} other{'s' if others > 1 else ''}" if others else "")


def _unknowns(reading: Reading) -> str:
    """Return what the judgement that a device is idle could not be founded on."""
    asked = {
        "utilisation": reading.utilization,
        "memory": reading.free_memory,
        "processes": reading.processes,
    }
    return ", ".join(name for name, value in asked.items() if value is None)
