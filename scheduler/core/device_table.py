"""The devices as the core knows them: which can take an attempt, and which are not to be trusted. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from scheduler.core.events import SetAside
from scheduler.core.retry import SUSPICIOUS, JudgedAttempt, Retry
from scheduler.core.verdict import Kind

# Different tasks in a row that failed on a device while others succeeded elsewhere.
SUSPECT_AFTER = 3
ASIDE = 600.0  # seconds that a device is set aside the first time; doubles each time
MAX_ASIDE = 6 * 3600.0
MOST_FREE = 0.95  # of a device's memory: a driver keeps 1 to 3 % of it for itself


@dataclass(slots=True)
class Device:
    """One device's state; memory in bytes, None where it is not known."""

    name: str
    ordinal: int
    free_memory: int | None = None
    total_memory: int | None = None
    # By the last event; and nothing was started on it since.
    idle: bool = False
    # No event since the last DeviceIdle called it busy, gone or refused.
    within_reach: bool = False
    # Of ours on it; after a dispatcher's death more than one can wait for its end.
    attempts: int = 0
    aside_until: float = 0.0
    times_aside: int = 0
    # It stands in the heap of idle devices.
    queued: bool = False
    # The suspicious failures since its last completion: task -> whether any was the device's own error.
    failures: dict[int, bool] = field(default_factory=dict)
    first_failure: float = 0.0

    def usable(self, now: float) -> bool:
        return self.idle and not self.attempts and self.aside_until <= now

    def has_more_than(self, memory: int | None) -> bool:
        return memory is None or self.free_memory is None or self.free_memory > memory


class Fleet:
    """All devices; every operation costs O(log devices) or less, but for those on devices in trouble."""

    def __init__(self) -> None:
        self._by_name: dict[str, Device] = {}
        self._by_ordinal: list[Device] = []
        self._idle: list[int] = []  # heap of ordinals; those no longer usable are skipped
        self._asides: list[tuple[float, int]] = []  # heap: (until when, ordinal)
        self._last_completion: dict[str, float] = {}

    def __getitem__(self, name: str) -> Device:
        """Return the device of that name, which becomes known by being asked for."""
        device = self._by_name.get(name)
        if device is None:
            device = self._by_name[name] = Device(name, len(self._by_ordinal))
            self._by_ordinal.append(device)
        return device

    def offer(self, device: Device, now: float) -> bool:
        """Queue the device for the next task if it can take one; say whether it can."""
        if not device.usable(now):
            return False
        if not device.queued:
            device.queued = True
            heapq.heappush(self._idle, device.ordinal)
        return True

    def take(self, now: float) -> Device | None:
        """Remove and return the first usable device, or None."""
        while self._idle:
            device = self._by_ordinal[heapq.heappop(self._idle)]
            device.queued = False
            if device.usable(now):
                return device
        return None

    def usable(self, now: float) -> Iterator[Device]:
        """Yield the usable devices, first ones first, without taking them."""
        for ordinal in sorted(self._idle):
            if self._by_ordinal[ordinal].usable(now):
                yield self._by_ordinal[ordinal]

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

    def can_have_more_than(self, memory: int | None) -> bool:
        """Say whether a known device could ever have more than ``memory`` bytes free."""
        if memory is None or not self._by_ordinal:
            return True
        return any(
            d.total_memory is None or d.total_memory * MOST_FREE > memory for d in self._by_ordinal
        )

    def suits(self, device: Device, retry: Retry, now: float) -> bool:
        """Say whether the device meets the conditions under which a task is to be tried again."""
        if not device.has_more_than(retry.above_memory):
            return False
        if retry.avoid == device.name:
            return not any(
                other is not device
                and (
                    other.within_reach or other.attempts
                )  # a device that others use may never be free
                and other.aside_until <= now
                and other.has_more_than(retry.above_memory)
                for other in self._by_ordinal
            )
        return True

    def completed_on(self, name: str, now: float) -> None:
        """Record that an attempt was completed there: it clears the device of suspicion."""
        device = self[name]
        device.failures.clear()
        device.times_aside = 0
        self._last_completion[name] = now

    def failed_on(self, attempt: JudgedAttempt, task: int, now: float) -> SetAside | None:
        """Record a failure; set the device aside if different tasks fail on it one after the other.

        Errors of the device itself suffice. Other failures count only if tasks were completed elsewhere
        meanwhile: a sweep whose tasks fail everywhere must not lose its devices, or its user would
        wait hours to learn of his own mistake.
        """
        if attempt.verdict.kind not in SUSPICIOUS:
            return None
        device = self[attempt.device]
        if not device.failures:
            device.first_failure = attempt.ended
        is_own = attempt.verdict.kind is Kind.DEVICE_ERROR
        device.failures[task] = is_own or device.failures.get(task, False)
        own_error = sum(device.failures.values()) >= SUSPECT_AFTER - 1
        outlier = len(device.failures) >= SUSPECT_AFTER and any(
            at >= device.first_failure
            for name, at in self._last_completion.items()
            if name != device.name
        )
        if not (own_error or outlier) or device.aside_until > now:
            return None
        device.aside_until = now + min(MAX_ASIDE, ASIDE * 2.0**device.times_aside)
        device.times_aside += 1
        device.failures.clear()
        heapq.heappush(self._asides, (device.aside_until, device.ordinal))
        return SetAside(device.name, device.aside_until, attempt.verdict.cause)
