"""The devices as the core knows them: which can take an attempt, and which are not to be trusted. Pure."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from operator import attrgetter

from scheduler.config.sweep import MOST_SHARERS
from scheduler.core.events import SetAside
from scheduler.core.retry import JudgedAttempt, Retry, RetryCode
from scheduler.core.states import Need
from scheduler.core.tables.closeness import closest
from scheduler.core.tables.ranking import Ranking
from scheduler.core.tables.suspicion import GIVEN_UP, PROVEN, Suspicion, speaks_of_a_device

ASIDE = 600.0  # seconds that a device is set aside the first time; doubles each time
MAX_ASIDE = 6 * 3600.0
MOST_FREE = 0.95  # of a device's memory: a driver keeps 1 to 3 % of it for itself


@dataclass(slots=True)
class Device:
    """One device's state; memory in bytes, None where it is not known."""

    name: str
    ordinal: int
    # What stands closer together than others: a board, a NUMA node. None: not known.
    group: str | None = None
    # No attempt can have it beside others: a MIG instance.
    lone: bool = False
    free_memory: int | None = None
    total_memory: int | None = None
    # By the last event; and nothing was started on it since that has it alone.
    idle: bool = False
    # No event since the last DeviceIdle called it busy, gone or refused.
    within_reach: bool = False
    # Of ours on it; after a dispatcher's death more than one can wait for its end.
    attempts: int = 0
    # Whose they are.
    tasks: set[int] = field(default_factory=set)
    # Of these, those that have it alone.
    alone: int = 0
    # Bytes that the others have asked for.
    promised: int = 0
    # Somebody wants no attempt to be started on it.
    drained: bool = False
    aside_until: float = 0.0
    times_aside: int = 0
    failures: Suspicion = field(default_factory=Suspicion)

    def usable(self, now: float) -> bool:
        """Say whether anything may be started on it."""
        return self.idle and not (self.alone or self.drained) and self.aside_until <= now

    def has_room(self, need: Need, most: int | None) -> bool:
        """Say whether a usable device has room for one more attempt.

        Args:
            need: of the attempt.
            most: attempts at once on a device; None: as many as fit.
        """
        if not self.attempts:
            return need.alone or self.has_free(need.memory)
        if need.alone or (most is not None and self.attempts >= most):
            return False
        memory, total = need.memory or 0, self.total_memory
        fits = total is None or self.promised + memory <= MOST_FREE * total
        return fits and self.has_free(memory)

    def has_free(self, memory: int | None) -> bool:
        """Say whether so much memory is free, or almost all there is; what is not known is free."""
        free, total = self.free_memory, self.total_memory
        if memory is None or free is None:
            return True
        return free >= (memory if total is None else min(memory, MOST_FREE * total))

    def has_more_than(self, memory: int | None) -> bool:
        return memory is None or self.free_memory is None or self.free_memory > memory

    def can_have_more_than(self, memory: int | None) -> bool:
        return memory is None or self.total_memory is None or self.total_memory * MOST_FREE > memory


_by_attempts = attrgetter("attempts")


def _by_memory(device: Device) -> float:
    return -math.inf if device.free_memory is None else -device.free_memory


class Fleet:
    """All devices; what concerns attempts that have one device alone costs O(log devices) or less.

    Tasks that want several, or a part of one, have them on one machine: these are looked at in turn.
    """

    def __init__(self, alike: Collection[str] = (), most_sharers: int | None = None) -> None:
        """Begin without devices.

        Args:
            alike: devices that are parts of one whole (CPU slots): none is ever worse than the others.
            most_sharers: attempts that share a device, at most; None: as many as fit.
        """
        self._most = most_sharers
        # The least memory that an attempt asks for on a device that it shares; None: none does.
        self.least_share: int | None = None
        self._alike = frozenset(alike)
        self._by_name: dict[str, Device] = {}
        self._by_ordinal: list[Device] = []
        # Those that may have room, by their attempts.
        self._open: Ranking[Device] = Ranking(_by_attempts, self._is_open)
        # The same by what memory they have free, most first; None: nobody has asked for that yet.
        self._roomy: Ranking[Device] | None = None
        # How many have so much memory, None where it is not known, and are lone.
        self._totals: Counter[tuple[int | None, bool]] = Counter()
        self._asides: list[tuple[float, int]] = []  # heap: (until when, ordinal)
        # The last time that a task was completed, on which device; and the last time on any other.
        self._last_completion: tuple[str, float] = ("", -math.inf)
        self._last_elsewhere = -math.inf
        self._in_use = 0
        # So many may be in use at once; None: all.
        self.at_most: int | None = None
        # The only device on which a task has failed; None: there were several, so it is the task's fault.
        self._failed_on: dict[int, Device | None] = {}

    def __getitem__(self, name: str) -> Device:
        """Return the device of that name, which becomes known by being asked for."""
        if (device := self._by_name.get(name)) is None:
            device = self._by_name[name] = Device(name, len(self._by_ordinal))
            self._by_ordinal.append(device)
            self._totals[None, False] += 1
        return device

    def __len__(self) -> int:
        """Return how many devices are known."""
        return len(self._by_ordinal)

    def know(self, device: Device, memory: int | None, *, lone: bool = False) -> None:
        """Take note of how much memory a device has, in bytes, and whether attempts must have it alone."""
        self._totals[device.total_memory, device.lone] -= 1
        device.total_memory, device.lone = memory, device.lone or lone
        self._totals[memory, device.lone] += 1

    def expect(self, need: Need) -> None:
        """Take note of what a task needs."""
        if not need.alone:
            memory = need.memory or 0
            self.least_share = memory if self.least_share is None else min(self.least_share, memory)

    def offer(self, device: Device, now: float) -> None:
        """Queue the device for the next task if it can take one."""
        if self._is_open(device, now):
            self._open.add(device)
            if self._roomy is not None:
                self._roomy.add(device)

    def _is_open(self, device: Device, now: float) -> bool:
        if not device.usable(now):
            return False
        if not device.attempts:
            return True
        least = self.least_share
        return least is not None and device.has_room(Need(memory=least, alone=False), self._most)

    def occupy(self, name: str, task: int, need: Need, now: float) -> None:
        """An attempt begins on a device, or goes on."""
        device = self[name]
        device.tasks.add(task)
        self._in_use += not device.attempts
        device.attempts += 1
        if need.alone:
            device.alone += 1
            device.idle = False
            return
        memory = need.memory or 0
        device.promised += memory
        if device.free_memory is not None:
            device.free_memory -= memory  # it will take that soon
        self.offer(device, now)

    def vacate(self, name: str, task: int, need: Need, now: float) -> None:
        """An attempt on a device is over."""
        device = self[name]
        device.tasks.discard(task)
        device.attempts -= 1
        self._in_use -= not device.attempts
        if need.alone:
            device.alone -= 1
        else:
            device.promised -= need.memory or 0
            device.idle = False  # what it took may not be back
        self.offer(device, now)  # it was seen idle under the attempt already, maybe

    def in_reach(self) -> list[Device]:
        """Return the devices that are used, or can be; all before any was seen; no more than may be."""
        found = [d for d in self._by_ordinal if d.attempts or (d.within_reach and not d.drained)]
        return (found or self._by_ordinal)[: self.at_most]

    def drain(self, name: str, now: float, *, on: bool) -> None:
        """Have no attempt started on the device, or, without ``on``, have them started again."""
        device = self[name]
        device.drained = on
        self.offer(device, now)

    @property
    def spare(self) -> int:
        """How many more devices may be in use."""
        most = len(self._by_ordinal) if self.at_most is None else self.at_most
        return max(0, most - self._in_use)

    def allows(self, need: Need) -> bool:
        """Say whether so many devices may be in use at once."""
        return self.at_most is None or need.devices <= self.at_most

    def may_come_free(self, need: Need, now: float) -> bool:
        """Say whether it would be given devices once nobody uses them, as far as they are known."""
        usable = sum(not d.drained and d.aside_until <= now for d in self._by_ordinal)
        return self.allows(need) and (not self._by_ordinal or need.devices <= usable)

    @property
    def full(self) -> bool:
        """Whether as many devices are in use as may be."""
        return self.at_most is not None and not self.spare

    def unused(self, now: float) -> list[Device]:
        """Return the devices that may be used and that nothing of ours runs on, idle or not."""
        return [
            device
            for device in self._by_ordinal
            if not (device.attempts or device.drained) and device.aside_until <= now
        ]

    @property
    def most_on_one(self) -> int:
        """How many attempts may be on one device, at most."""
        if self.least_share is None:
            return 1
        return self.room_on_one(Need(memory=self.least_share, alone=False))

    def room_on_one(self, need: Need) -> int:
        """Return how many such attempts there is room for on the largest device."""
        if need.alone:
            return 1
        largest = max(
            (memory or 0 for (memory, _), count in self._totals.items() if count), default=0
        )
        fit = int(MOST_FREE * largest) // need.memory if need.memory and largest else MOST_SHARERS
        return max(1, min(fit, self._most or MOST_SHARERS))

    def any_open(self, now: float) -> bool:
        """Say whether any device may have room, and may be used."""
        if self.at_most is not None and self.full and self.least_share is None:
            return False
        return self._open.first(now) is not None

    def find(
        self, need: Need, now: float, retry: Retry | None = None, but: Collection[int] = ()
    ) -> tuple[Device, ...]:
        """Return devices for an attempt, all that it needs, or none.

        Those with the fewest attempts, first ones first; where there is a memory that was not enough, the one
        with the most of it; several of one group where there is one that has enough.

        Args:
            need: of the attempt.
            now: the time.
            retry: on what conditions the task is tried again; None: on none.
            but: the ordinals of devices that are not to be had.
        """
        more = self._may_come_into_use(but)
        if need.devices == 1:
            first = self._first(need, now, retry, but, more)
            return () if first is None else (first,)
        fitting = [
            device
            for device in self._open.all(now)
            if device.ordinal not in but
            and not device.lone
            and (device.attempts or more > 0)
            and device.has_room(need, self._most)
            and (retry is None or self.suits(device, retry, now))
        ]
        found = closest(fitting, need.devices)
        return found if sum(not device.attempts for device in found) <= more else ()

    def _may_come_into_use(self, held: Collection[int]) -> int:
        """Return how many devices may come into use beside those that are held for a task."""
        if self.at_most is None:
            return len(self._by_ordinal)
        return self.spare - sum(not self._by_ordinal[ordinal].attempts for ordinal in held)

    def held_for(self, need: Need, now: float, retry: Retry | None) -> frozenset[int]:
        """Return the ordinals of devices on which nothing is to be started, to fall free for a task.

        Of those that our own attempts keep from it, these are the ones with the fewest. They are chosen
        anew whenever a device changes, and only ever for such as have fewer attempts, or as many and stand
        before them; so in the end they are free.
        """
        fitting = [
            device
            for device in self._by_ordinal
            if (device.within_reach or device.attempts)
            and not (device.drained or (device.lone and need.devices > 1))
            and device.aside_until <= now
            and (retry is None or self.suits(device, retry, now, in_time=True))
        ]
        fitting.sort(key=_by_attempts)
        return frozenset(device.ordinal for device in closest(fitting, need.devices))

    def _first(
        self, need: Need, now: float, retry: Retry | None, but: Collection[int], more: int
    ) -> Device | None:
        """Return the first device that has room for an attempt; it stays queued until that begins."""
        above = None if retry is None else retry.above_memory
        ranking = self._open if above is None else self._ranked_by_memory(now)
        for device in ranking.in_turn(now):
            none_behind = (
                need.alone and device.attempts if above is None else not device.has_more_than(above)
            )
            if none_behind:  # is any better
                return None
            may_be_used = device.ordinal not in but and (device.attempts or more > 0)
            suits = retry is None or self.suits(device, retry, now)
            if may_be_used and suits and device.has_room(need, self._most):
                return device
        return None

    def _ranked_by_memory(self, now: float) -> Ranking[Device]:
        if self._roomy is None:
            self._roomy = Ranking(_by_memory, self._is_open)
            for device in self._open.all(now):
                self._roomy.add(device)
        return self._roomy

    def next_return(self) -> float | None:
        """Return when the next device that was set aside may be used again."""
        return self._asides[0][0] if self._asides else None

    def bring_back(self, now: float) -> bool:
        """Offer the devices whose time aside is over; say whether there were any."""
        came_back = False
        while self._asides and self._asides[0][0] <= now:
            self.offer(self._by_ordinal[heapq.heappop(self._asides)[1]], now)
            came_back = True
        return came_back

    def can_have_more_than(self, memory: int | None, count: int) -> bool:
        """Say whether so many known devices could ever have more than ``memory`` bytes free."""
        if memory is None or len(self._by_ordinal) < count:
            return True  # it asks for nothing, or not all devices are known yet
        return count <= sum(
            devices
            for (total, lone), devices in self._totals.items()
            if (total is None or total * MOST_FREE > memory) and (count == 1 or not lone)
        )

    def suits(self, device: Device, retry: Retry, now: float, *, in_time: bool = False) -> bool:
        """Say whether the device meets the conditions under which a task is to be tried again.

        Args:
            device: the device.
            retry: the conditions.
            now: the time.
            in_time: once our attempts on it are over; else now.
        """
        if not (in_time and device.attempts) and not device.has_more_than(retry.above_memory):
            return False
        return not self._is_avoided(device, retry, now)

    def could_do(self, device: Device, retry: Retry, now: float) -> bool:
        """Say whether a task could be tried again on a device under these conditions, were it idle."""
        can = device.can_have_more_than(retry.above_memory)
        return can and not self._is_avoided(device, retry, now)

    def _is_avoided(self, device: Device, retry: Retry, now: float) -> bool:
        """Say whether a task is to be tried again on another device, of which there is one."""
        flees = retry.reason.code is RetryCode.DEVICE_ERROR or device.failures.is_suspect
        if retry.avoid != device.name or not flees:
            return False
        return any(
            other is not device
            and (other.within_reach or other.attempts)  # a device that others use may never be free
            and not other.drained
            and other.aside_until <= now
            and other.has_more_than(retry.above_memory)
            for other in self._by_ordinal
        )

    def completed_on(self, name: str, task: int, now: float) -> SetAside | None:
        """Record that an attempt was completed there: it clears the device of suspicion.

        If the task has failed on one other device, that speaks against that one.
        """
        device = self[name]
        device.failures.clear()
        device.times_aside = 0
        if name != self._last_completion[0]:
            self._last_elsewhere = self._last_completion[1]
        self._last_completion = name, now
        return self._weigh(task, PROVEN, now)

    def gave_up(self, task: int, now: float) -> SetAside | None:
        """Record that a task has failed for good: if always on one device, that speaks against it."""
        return self._weigh(task, GIVEN_UP, now)

    def failed_on(self, attempt: JudgedAttempt, task: int, now: float) -> SetAside | None:
        """Record a failure; set the device aside if tasks that fail nowhere else fail on it.

        Errors of the device itself suffice. Otherwise it must be known of the tasks that they do not fail
        elsewhere: flaky tasks, and those that always fail, must not cost a sweep its devices.
        """
        name = speaks_of_a_device(attempt)
        if name is None or name in self._alike:
            return None
        device = self[name]
        only_one = self._failed_on.setdefault(task, device)
        if only_one is not device:
            if only_one is not None:
                only_one.failures.acquit(task)
                self._failed_on[task] = None
            return None
        device.failures.add(task, attempt)
        return self._judge(device, now)

    def flees(self, last: JudgedAttempt) -> bool:
        """Say whether a task whose last attempt that was should rather be tried elsewhere."""
        name = speaks_of_a_device(last)
        return name is not None and self[name].failures.is_suspect

    def _weigh(self, task: int, weight: int, now: float) -> SetAside | None:
        device = self._failed_on.pop(task, None)
        if device is None or not device.failures.weigh(task, weight):
            return None
        return self._judge(device, now)

    def _judge(self, device: Device, now: float) -> SetAside | None:
        failures, (name, at) = device.failures, self._last_completion
        elsewhere = self._last_elsewhere if name == device.name else at
        guilty = failures.has_own_errors or (failures.is_grave and elsewhere >= failures.since)
        if not guilty or device.aside_until > now:
            return None
        device.aside_until = now + min(MAX_ASIDE, ASIDE * 2.0**device.times_aside)
        device.times_aside += 1
        failures.clear()
        heapq.heappush(self._asides, (device.aside_until, device.ordinal))
        return SetAside(device.name, device.aside_until, failures.last_cause)
