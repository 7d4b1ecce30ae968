"""Which waiting task is started next, and on which devices; how many more would be put to use. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from scheduler.core.retry import Retry
from scheduler.core.states import Need
from scheduler.core.tables.devices import Device, Fleet
from scheduler.core.tables.waiting import Line, Waiting


class Matching:
    """One look at the tasks that wait and the devices that have room.

    Tasks that were tried before go first, and in their order all others. But what tasks have left when their
    speed is measured waits until a device is filled by it, or nothing else can have one: alone it would keep
    those from the device that are timed. A task for which there is no room
    is passed over, but the first of them is not starved by smaller ones behind it: the devices that it will
    have are not given to those. (Where every task has one device alone, whatever falls free is offered
    to the first one anyway.)
    """

    def __init__(self, waiting: Waiting, fleet: Fleet, now: float) -> None:
        self._waiting = waiting
        self._fleet = fleet
        self._now = now
        self._passed_over: tuple[Need, Retry | None] | None = None
        self._held: frozenset[int] | None = None
        # Whose tasks are being put on a device until it is full.
        self._filling: Line | None = None

    def of_the_picky(self) -> Iterator[tuple[int, Need, tuple[Device, ...]]]:
        """Yield tasks for which not any device will do, with their devices; each is to be started at once."""
        for conditions, picky in list(self._waiting.constrained.items()):
            need = need_of(picky.need, picky.retry)
            tasks = len(picky.tasks)
            while tasks and (devices := self._place(need, picky.retry)):
                tasks -= 1
                yield self._waiting.take_picky(conditions), need, devices

    def of_the_others(self) -> Iterator[tuple[int, Need, tuple[Device, ...]]]:
        """Yield the other tasks likewise."""
        no_room: list[Line] = []
        while self._fleet.any_open(self._now):
            line = self._waiting.first_line(self._may_wait, no_room)
            if line is None:
                break
            if devices := self._place(line.need, None):
                if line.need.later:
                    self._filling = line
                yield self._waiting.take(line), line.need, devices
            else:
                no_room.append(line)

    def first(self) -> tuple[int, Need] | None:
        """Return the task that is next on any device that falls free, which stays where it waits.

        What tasks have left when their speed is measured is passed over: it fills a device now and then, and
        the others have the next.
        """
        passed: list[Line] = []
        while (line := self._waiting.first_line(self._may_wait, passed)) is not None:
            if not line.need.later and self._fleet.may_come_free(line.need, self._now):
                return self._waiting.first_of(line), line.need
            passed.append(line)
        return None

    def _may_wait(self, line: Line) -> bool:
        """Say whether a line's tasks leave a device to others, until they fill one."""
        if not line.need.later or line is self._filling:
            return False
        return len(line.tried) < self._fleet.room_on_one(line.need)

    def _place(self, need: Need, retry: Retry | None) -> tuple[Device, ...]:
        fleet, now = self._fleet, self._now
        devices = fleet.find(need, now, retry)
        if devices and self._passed_over is not None:
            if self._held is None:
                first, its_retry = self._passed_over
                self._held = fleet.held_for(first, now, its_retry)
            if not self._held.isdisjoint(device.ordinal for device in devices):
                devices = fleet.find(need, now, retry, self._held)
        starvable = need.devices > 1 or fleet.least_share is not None
        # What has more than may be in use now waits for other hours; nothing is kept for it until then.
        starvable = starvable and fleet.allows(need)
        if not devices and starvable and self._passed_over is None:
            self._passed_over = need, retry
        return devices


def need_of(need: Need, retry: Retry | None) -> Need:
    """Return what a task needs when it is tried again on these conditions."""
    if retry is None or retry.share is None or need.alone:
        return need
    return replace(need, memory=max(retry.share, need.memory or 0))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Devices that tasks wait for, beyond those that are in use."""

    # How many there would be work for.
    more: int = 0
    # The names of those that would do, idle or not.
    devices: tuple[str, ...] = ()
    # With fewer of them at once none of the tasks can be started.
    at_once: int = 1


def wanted(waiting: Waiting, fleet: Fleet, now: float) -> Wanted:
    """Return for how many more devices there is work now, whoever uses them at the moment."""
    unused = fleet.unused(now)
    most = min(len(unused), fleet.spare)
    more, least, names = 0, most, set[str]()
    for standing, retry, tasks in waiting.demands(most * fleet.most_on_one):
        need = need_of(standing, retry)
        fitting = [d for d in unused if retry is None or fleet.could_do(d, retry, now)]
        # Those that share may have some of their devices already.
        at_once = need.devices if need.alone else 1
        if at_once <= min(most, len(fitting)):
            more += need.devices * -(-tasks // fleet.room_on_one(need))
            least = min(least, at_once)
            names.update(device.name for device in fitting)
        if more >= most and len(names) == len(unused):
            break
    more = min(more, most, len(names))
    return Wanted(more - more % least, tuple(sorted(names)), least) if more else Wanted()
