"""What no dispatcher decides: devices, files on a disk, supervisors and workers, and their fates.

The rules are those of the real shell: a supervisor locks its task's attempts file before it begins, and
holds the lock and the device's lease as long as it or its worker lives; it appends the end before
it answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Protocol

from scheduler.config.sweep import Rules
from scheduler.core import events as ev
from scheduler.core.states import ONE_ALONE, Need
from scheduler.core.verdict import STAGE_DONE_LINE, Exit, Kind, LogScan, Verdict

GIB = 2**30
GRACE = 10.0  # seconds between TERM and KILL
DIES_AT_BIRTH = 0.01  # of all supervisors, killed before they begin what they were ordered
LINE_EVERY = 7.0  # seconds between two lines of a worker's log
FLOOD = GIB / 20  # bytes per second
RULES = Rules()


class End(Enum):
    """How a worker ends: its exit and its log."""

    COMPLETES = (Exit(0), (RULES.success,))
    STAGE_DONE = (Exit(0), (STAGE_DONE_LINE,))
    FAILS = (Exit(1), ("Traceback (most recent call last):", "ValueError: a bad day"))
    WRONG_CODE = (Exit(2), ("unknown flag",))
    TRY_LATER = (Exit(75), ("the hub is down",))
    SEGFAULT = (Exit(signal=11), ())
    KERNEL_OOM = (Exit(signal=9, oom_killed=True), ())
    NO_SUCCESS_LINE = (Exit(0), ("almost there",))
    FAILURE_LINE = (Exit(0), ("RuntimeError: one image failed", RULES.success))
    FAILS_AFTER_SUCCESS = (Exit(1), (RULES.success,))
    OUT_OF_MEMORY = (Exit(1), ("torch.OutOfMemoryError: CUDA out of memory",))
    DEVICE_ERROR = (Exit(1), ("CUDA error: uncorrectable ECC error encountered",))
    DISK_FULL = (Exit(1), ("OSError: [Errno 28] No space left on device",))
    TERMINATED = (Exit(signal=15), ())
    KILLED = (Exit(signal=9), ())
    UNSEEN = (Exit(), ())  # its supervisor was killed: nobody saw the exit

    def __init__(self, ended: Exit, log: tuple[str, ...]) -> None:
        self.exit = ended
        self.scan = LogScan(RULES).feed(log)


@dataclass(frozen=True)
class Fate:
    """What an attempt comes to if nothing interferes; without an end it hangs, silent or not."""

    seconds: float
    end: End | None = End.COMPLETES
    silent: bool = False  # shows no sign of life after its start
    stubborn: bool = False  # ignores TERM
    floods: bool = False  # its log grows without end
    supervisor_dies: bool = False  # after half of its time
    does_not_start: bool = False


@dataclass
class Nature:
    """What is true of a task in every attempt, and its first attempts' fates; others complete."""

    task: str
    fates: list[Fate] = field(default_factory=list)
    needs_halvings: int = 0
    needs_memory: int = 0  # bytes, at the smallest batch
    need: Need = ONE_ALONE
    # What it needs once its first stage is done, if it has two.
    untimed: Need | None = None
    takes: int = 0  # bytes of a device that it shares
    hopeless: End | None = None


@dataclass
class Gpu:
    """A device as it is, whatever the dispatcher believes of it."""

    name: str
    total: int = 80 * GIB
    reserved: int = GIB // 2  # by the driver: never free
    guest: int = 0  # bytes that another user's process holds; 0: nobody is there
    lost: bool = False
    faulty: bool = False  # every attempt on it ends in a device error
    leased_away: bool = False  # by another dispatcher
    holders: list[Supervisor] = field(default_factory=list)  # of ours: they, or their workers, live

    @property
    def free_memory(self) -> int:
        taken = sum(holder.takes for holder in self.holders if holder.working)
        return self.total - self.reserved - self.guest - taken


@dataclass
class Record:
    """One attempt in its task's attempts file; ``started`` is its monotonic time, good within one boot."""

    number: int
    devices: tuple[str, ...]
    has: Need
    started: float
    halvings: int
    free_memory: int | None
    supervisor: Supervisor
    started_at: float = 0.0  # time of day
    boot: int = 0
    ended: float | None = None  # time of day
    end: End | None = None
    not_started: bool = False
    was_told_to_stop: bool = False
    stop: Verdict | None = None
    verdict: Verdict | None = None
    foreign: bool = False
    crowded: bool = False  # others of ours were on its device when it ended
    taken: int | None = None
    settings: int = 0  # of the task, as the sweep file had them


@dataclass
class Wishes:
    """What somebody asked for from another shell, as it stands in files."""

    paused: ev.PauseAsked | None = None
    stops: dict[str, ev.StopAsked] = field(default_factory=dict)  # by task, until obeyed
    drained: set[str] = field(default_factory=set)
    reloads: int = 0  # that were asked for
    at_most: int | None = None  # devices in use, at this time of day

    def copy(self) -> Wishes:
        stops, drained = dict(self.stops), set(self.drained)
        return Wishes(self.paused, stops, drained, self.reloads, self.at_most)


@dataclass
class AttemptsFile:
    """A task's attempts since it last completed or failed; ``lines`` stands for the file's size."""

    records: list[Record] = field(default_factory=list)
    lines: int = 0
    lock: Supervisor | None = None


class Listener(Protocol):
    """The dispatcher as its supervisors see it."""

    def answered(self, supervisor: Supervisor, answer: str) -> None:
        """Hear that the attempt has ended, or that it was refused or failed to begin."""

    def supervisor_died(self, supervisor: Supervisor) -> None:
        """Hear that the pipe broke."""


class Model(ABC):
    """Time, files, devices; what is common to the world and everything in it."""

    def __init__(self, natures: list[Nature], gpus: list[Gpu], rng: Random, *, slots: bool) -> None:
        self.natures = {nature.task: nature for nature in natures}
        self.gpus = {gpu.name: gpu for gpu in gpus}
        self.slots = slots  # CPU slots: no leases, no guests, no polling
        self.rng = rng
        self.now = 1000.0
        # How far the time of day is ahead, and since when: anybody may set it at any time.
        self.clock_settings = [(0.0, 0.0)]
        self.boot = 0
        self.disk_full = False
        self.sweep_file = dict.fromkeys(
            self.natures, 0
        )  # its tasks, and a number for their settings
        self.answers_for: dict[str, int] = {}  # the settings that a task's checkpoint is of
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self.files: dict[str, AttemptsFile] = {nature.task: AttemptsFile() for nature in natures}
        self.attempts_made: dict[str, int] = dict.fromkeys(self.natures, 0)

    def time_of_day(self, at: float) -> float:
        """Return what the clock on the wall showed at ``at``."""
        return at + next(ahead for since, ahead in reversed(self.clock_settings) if since <= at)

    @abstractmethod
    def after(self, delay: float, do: Callable[[], None]) -> None:
        """Let something happen ``delay`` seconds from now."""

    @abstractmethod
    def note(self, *words: object) -> None:
        """Remember what happens, for the story of a failing seed."""

    @abstractmethod
    def device_changed(self, gpu: Gpu) -> None:
        """Let who watches the devices look again."""

    @abstractmethod
    def worker_began(self, task: str, record: Record) -> None:
        """Let the event_log see a worker begin."""

    def soon(self, most: float = 0.05) -> float:
        """Return a latency in seconds, often none."""
        return self.rng.random() * most if self.rng.random() < 0.5 else 0.0

    def needs_of(self, task: str, settings: int) -> list[Need]:
        """Return what the task's next attempt may need.

        A verdict for which the disk had no room is known to the dispatcher that gave it, and to no other.
        """
        nature = self.natures[task]
        first = [
            record
            for record in self.files[task].records
            if record.settings == settings and record.end is End.STAGE_DONE
        ]
        if nature.untimed is None or not first:
            return [nature.need]
        recorded = any(r.verdict is not None and r.verdict.kind is Kind.STAGE_DONE for r in first)
        return [nature.untimed] if recorded else [nature.untimed, nature.need]

    def fate_of(self, task: str) -> Fate:
        """Return the fate of the task's next attempt."""
        nature, number = self.natures[task], self.attempts_made[task]
        self.attempts_made[task] += 1
        if number < len(nature.fates):
            return nature.fates[number]
        return Fate(1.0 + 9.0 * self.rng.random(), nature.hopeless or End.COMPLETES)


class Supervisor:
    """One supervisor with one order; ``listener`` is the dispatcher that gave it, until that dies."""

    def __init__(
        self, world: Model, task: str, order: Record, size: int, listener: Listener
    ) -> None:
        self._world = world
        self._gpus = [world.gpus[name] for name in order.devices]
        self.task = task
        self._order = order
        self._size = size
        self.listener: Listener | None = listener
        self.ordered = world.now
        self.ordered_by = listener
        self.alive = True
        self.working = False
        self.fate: Fate | None = None  # once it works
        self._stop_asked = False
        order.supervisor = self
        for gpu in self._gpus:
            gpu.holders.append(self)
        world.after(world.soon(), self._begin)

    @property
    def alone(self) -> bool:
        return self._order.has.alone

    @property
    def asked(self) -> int:
        """Bytes of a device that it shares."""
        return self._order.has.memory or 0

    @property
    def takes(self) -> int:
        return 0 if self.alone else self._world.natures[self.task].takes

    @property
    def settings(self) -> int:
        """What the sweep file said of the task when the order was given."""
        return self._order.settings

    def _begin(self) -> None:
        world, file = self._world, self._world.files[self.task]
        if not self.alive:
            return
        if self._stop_asked:  # TERM came before the order was read
            self._die()
        elif world.rng.random() < DIES_AT_BIRTH:
            self.kill()
        elif file.lock is not None or file.lines != self._size:
            self._answer("refused")
        elif world.disk_full:
            self._answer("no room")
        else:
            file.lock = self
            self._order.started, self._order.started_at = world.now, world.time_of_day(world.now)
            self._order.boot = world.boot
            file.records.append(self._order)
            file.lines += 1
            self._spawn()

    def _spawn(self) -> None:
        world, record = self._world, self._order
        fate = world.fate_of(self.task)
        world.note("begins", self.task, record.number, "on", record.devices, fate)
        if fate.does_not_start:
            record.not_started = True
            self._ended(End.UNSEEN)
            return
        self.working = True
        self.fate = fate
        world.worker_began(self.task, record)
        if fate.supervisor_dies:
            world.after(fate.seconds / 2, self.kill)
        end = self._natural_end(fate)
        if end is not None:
            world.after(fate.seconds, lambda: self.worker_ends(end))

    def _natural_end(self, fate: Fate) -> End | None:
        nature, record = self._world.natures[self.task], self._order
        if fate.end is not End.COMPLETES:
            return fate.end
        if any(gpu.faulty for gpu in self._gpus):
            return End.DEVICE_ERROR
        if self.takes and any(gpu.free_memory < 0 for gpu in self._gpus):
            return End.OUT_OF_MEMORY
        short = record.free_memory is not None and record.free_memory < nature.needs_memory
        if record.halvings < nature.needs_halvings or short:
            return End.OUT_OF_MEMORY
        return End.COMPLETES if nature.untimed is None or not self.alone else End.STAGE_DONE

    @property
    def written(self) -> int:
        """How many bytes the log has."""
        floods = self.fate is not None and self.fate.floods
        return int((self._world.now - self._order.started) * FLOOD) if floods else 0

    @property
    def shows_life_at(self) -> float:
        """When the worker last wrote to its log; 0 if it has none yet."""
        if self.fate is None:
            return 0.0
        started = self._order.started
        lines = 0 if self.fate.silent else (self._world.now - started) // LINE_EVERY
        return started + lines * LINE_EVERY

    def worker_ends(self, end: End) -> None:
        """End the worker, if it still works; the supervisor records it if it lives."""
        if not self.working:
            return
        self.working = False
        if end is End.COMPLETES and self._world.disk_full:
            end = End.DISK_FULL  # it could not write its results
        if self.alive:
            self._ended(end)
        else:
            self._let_go()

    def _ended(self, end: End) -> None:
        if not self.alive:
            self._let_go()
        elif self._world.disk_full and self._stop_asked:
            self._answer("no room")
        elif self._world.disk_full:  # an end must not be lost: it waits, and the lock is held
            self._world.after(1.0, lambda: self._ended(end))
        else:
            record, self._order.end = self._order, end
            record.ended = self._world.time_of_day(self._world.now)
            record.was_told_to_stop = self._stop_asked
            record.crowded = any(len(gpu.holders) > 1 for gpu in self._gpus)
            record.taken = self.takes or None
            self._world.files[self.task].lines += 1
            self._world.note("ended", self.task, record.number, end.name)
            self._let_go()
            self._answer("ended")

    def _answer(self, answer: str) -> None:
        self.alive = False  # one supervisor, one order: going idle is nobody's promise
        self._let_go()
        listener = self.listener
        if listener is not None:
            self._world.after(self._world.soon(), lambda: listener.answered(self, answer))

    def _let_go(self) -> None:
        """Release lock and lease, as the kernel does when the last of supervisor and worker is gone."""
        file = self._world.files[self.task]
        if file.lock is self:
            file.lock = None
        for gpu in self._gpus:
            if self in gpu.holders:
                gpu.holders.remove(self)
                self._world.device_changed(gpu)

    def stop(self) -> None:
        """Send TERM to the supervisor: it ends the worker, by KILL after a grace time."""
        if not self.alive or self._stop_asked:
            return
        self._stop_asked = True
        if self.working and self.fate is not None:
            end = End.KILLED if self.fate.stubborn else End.TERMINATED
            delay = GRACE if self.fate.stubborn else self._world.soon(1.0)
            self._world.after(delay, lambda: self.worker_ends(end))

    def kill(self) -> None:
        """Kill the supervisor alone; its worker goes on, an orphan."""
        if not self.alive:
            return
        self._world.note("supervisor killed", self.task, self._order.number)
        self._die()

    def _die(self) -> None:
        self.alive = False
        if not self.working:
            self._let_go()
        listener = self.listener
        if listener is not None:
            self._world.after(self._world.soon(), lambda: listener.supervisor_died(self))

    def guest_arrived(self) -> None:
        """Share the device with another user's process, which may have taken the memory needed."""
        if self.working and any(gpu.guest for gpu in self._gpus) and self._world.rng.random() < 0.5:
            self._world.after(self._world.soon(5.0), lambda: self.worker_ends(End.OUT_OF_MEMORY))

    def device_lost(self) -> None:
        """Lose the device: a worker may notice by itself."""
        if self.working and self._world.rng.random() < 0.5:
            self._world.after(self._world.soon(5.0), lambda: self.worker_ends(End.DEVICE_ERROR))

    def vanish(self) -> None:
        """End with everything else in a power cut; nothing is recorded."""
        self.alive = self.working = False
        self.listener = None
        self._let_go()
