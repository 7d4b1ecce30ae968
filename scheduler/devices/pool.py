"""The devices of one dispatcher: looked at, judged, leased, occupied; changes become events."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from scheduler.config.sweep import DeviceSettings
from scheduler.core.events import DeviceBusy, DeviceGone, DeviceIdle, Event
from scheduler.devices.cpu import cpu_slots, threads_per_slot
from scheduler.devices.idle import Idleness, IdleRule, IdleTracker
from scheduler.devices.lease import Lease, LeaseFolderError, LeaseHeld, check_folder, default_folder
from scheduler.devices.model import Device, Reading
from scheduler.devices.nvml import Nvml, NvmlUnavailable
from scheduler.devices.owners import with_owners
from scheduler.devices.watch import INTERVAL, DeviceWatch

MEMORY_BACK = 5.0  # seconds within which the memory of an ended process is surely free again

Post = Callable[[Callable[[], None]], None]
OthersCame = Callable[[str, list[dict[str, Any]], int], None]


def idle_rule(settings: DeviceSettings) -> IdleRule:
    """Return what the sweep demands of an idle device."""
    return IdleRule(settings.max_utilization, settings.min_free_memory, settings.idle_for)


class DevicePool:
    """GPUs and MIG instances where NVML is, CPU slots where it is not."""

    def __init__(self, settings: DeviceSettings, visible: str | None) -> None:
        """Find the devices.

        Args:
            settings: the sweep's ``devices`` section.
            visible: the CUDA_VISIBLE_DEVICES that the dispatcher inherited; None: not set.

        Raises:
            UnknownDevice: ``only`` or ``exclude`` names a device that is not here.
        """
        self.nvml: Nvml | None = None
        try:
            self.nvml = Nvml.open()
            self.all = self.nvml.devices(visible, settings.only or None, settings.exclude)
            self.where = f"{len(self.all)} device(s) through NVML"
        except NvmlUnavailable as why:
            self.all = cpu_slots(settings.cpu_slots)
            self.where = f"{why}; using {len(self.all)} CPU slot(s)"
        self.threads = threads_per_slot(settings.cpu_slots)
        self._by_id = {device.id: device for device in self.all}
        self._views = {device.id: _View(IdleTracker(idle_rule(settings))) for device in self.all}
        self._leases = default_folder()
        self._watch: DeviceWatch | None = None
        self._post: Post
        self._handle: Callable[[Event], None]
        self._emit: Callable[..., None]
        self._others_came: OthersCame

    def __getitem__(self, device: str) -> Device:
        return self._by_id[device]

    def check_leases(self) -> None:
        """Make sure that leases can be kept where they are needed.

        Raises:
            LeaseFolderError: they cannot; the message says what to do.
        """
        if self.nvml is not None:
            check_folder(self._leases)

    def connect(
        self,
        post: Post,
        handle: Callable[[Event], None],
        emit: Callable[..., None],
        others_came: OthersCame,
    ) -> None:
        """Say where changes go.

        Args:
            post: has a function called in the dispatcher's loop.
            handle: gives an event to the core.
            emit: puts an event into the journal.
            others_came: hears, once for an attempt, of the processes that came to its device, and
                of memory (bytes) that belongs to none in sight.
        """
        self._post, self._handle, self._emit = post, handle, emit
        self._others_came = others_came

    def start(self) -> None:
        """Begin to look at the devices; attempts taken over are occupying theirs by now."""
        if self.nvml is not None:
            self._watch = DeviceWatch(self.nvml, self._by_id, self._deliver)
            self._watch.start()
            return
        for device in self.all:
            self._emit("device", device=device.id, idle=True, reason="idle")
            self._handle(DeviceIdle(device.id))

    def _deliver(self, readings: list[Reading]) -> None:
        self._post(partial(self._take, readings))

    def finish(self) -> None:
        """Stop looking."""
        if self._watch is not None:
            self._watch.finish()

    def lease(self, device: str) -> Lease | None:
        """Take the exclusive right to a device; CPU slots need none, they are each dispatcher's own.

        Raises:
            LeaseHeld: another dispatcher has it, or leases cannot be kept safely any more; the device
                counts as busy until it can be had.
        """
        if self.nvml is None:
            return None
        try:
            return Lease.acquire(self._leases, device)
        except (LeaseHeld, LeaseFolderError) as why:
            self._views[device].refused = True
            self._show(device, idle=False, reason=str(why))
            raise LeaseHeld(str(why)) from why

    def occupy(self, device: str, supervisor: int, *, visited: bool = False) -> None:
        """An attempt of ours begins on the device, under that supervisor, or goes on (``visited`` before)."""
        view = self._views.get(device)
        if view is not None:
            view.supervisor, view.last_active = supervisor, None
            view.visited, view.hidden_before = visited, False

    def vacate(self, device: str) -> None:
        """Our attempt on the device is over: have it looked at, or offer it at once."""
        view = self._views.get(device)
        if view is None:
            return
        view.supervisor, view.ours_last, view.vacated = None, True, time.monotonic()
        if self.nvml is None:
            self._handle(DeviceIdle(device))
        elif self._watch is not None:
            self._watch.look_eagerly(device)

    def free_memory(self, device: str) -> int | None:
        """Return the device's free memory in bytes when it was last looked at."""
        view = self._views.get(device)
        return view.reading.free_memory if view and view.reading else None

    def last_active(self, device: str) -> float | None:
        """Return when the device was last seen computing for us (monotonic).

        None if it cannot be told: NVML does not say, or others use it too.
        """
        view = self._views.get(device)
        return view.last_active if view else None

    # --- readings ------------------------------------------------------------------------------

    def _take(self, readings: Sequence[Reading]) -> None:
        for reading in readings:
            self._judge(reading)

    def _judge(self, reading: Reading) -> None:
        device, now = reading.device_id, time.monotonic()
        view = self._views[device]
        if reading.unread is not None:
            self._show(device, idle=False, reason=reading.unread)
            if view.supervisor is None:  # what runs there goes on: nothing speaks against it
                self._handle(DeviceBusy(device))
            return
        reading, own = with_owners(reading, view.supervisor)
        view.reading = reading
        idleness = view.tracker.judge(reading, now, own, after_own=view.ours_last)
        if reading.error is not None:
            if not view.gone:
                view.gone = True
                self._handle(DeviceGone(device, idleness.reason))
            self._show(device, idle=False, reason=idleness.reason)
            assert self._watch is not None
            self._watch.look_calmly(device)  # NVML looks at all GPUs for one that it does not find
            return
        view.gone = False
        if view.supervisor is not None:
            self._while_ours(device, reading, idleness, own, now)
        elif not idleness.idle:
            self._pace(device, view, idleness, now)
            self._show(device, idle=False, reason=idleness.reason)
            self._handle(DeviceBusy(device))
        elif not self._still_refused(device, view):
            self._pace(device, view, idleness, now)
            self._show(device, idle=True, reason=idleness.reason)
            self._handle(DeviceIdle(device, reading.free_memory, reading.total_memory))

    def _pace(self, device: str, view: _View, idleness: Idleness, now: float) -> None:
        """Look eagerly at a device that should fall idle within the second, calmly at others."""
        assert self._watch is not None
        soon = idleness.until is not None and idleness.until - now < INTERVAL
        coming_back = (
            not idleness.idle and not idleness.foreign and now < view.vacated + MEMORY_BACK
        )
        if soon or coming_back:
            self._watch.look_eagerly(device)
        else:
            self._watch.look_calmly(device)

    def _while_ours(
        self, device: str, reading: Reading, idleness: Idleness, own: frozenset[int], now: float
    ) -> None:
        view = self._views[device]
        # Memory that is nobody's in sight is foreign only where NVML shows us our own process, and
        # twice in a row: a child of the worker may have ended between the reading's parts.
        hidden = idleness.hidden_memory if own else 0
        if reading.utilization is None or idleness.foreign or hidden:
            view.last_active = None
        elif reading.utilization or view.last_active is None:
            view.last_active = now
        lasting, view.hidden_before = hidden and view.hidden_before, bool(hidden)
        if (idleness.foreign or lasting) and not view.visited:
            view.visited = True
            processes = [{"pid": p.pid, "name": p.name, "user": p.user} for p in idleness.foreign]
            self._others_came(device, processes, hidden)

    def _still_refused(self, device: str, view: _View) -> bool:
        """Try a lease that was refused before; without this, a task would be sent there every second."""
        if not view.refused:
            return False
        try:
            Lease.acquire(self._leases, device).release()
        except (LeaseHeld, LeaseFolderError) as why:
            self._show(device, idle=False, reason=str(why))
            return True
        view.refused = False
        return False

    def _show(self, device: str, *, idle: bool, reason: str) -> None:
        """Journal a device's state when it changes; not each new percentage."""
        view = self._views[device]
        shown = (idle, re.sub(r"[\d.]+", "", reason))
        if view.shown != shown:
            view.shown = shown
            self._emit("device", device=device, idle=idle, reason=reason)


class _View:
    """What is known of one device."""

    def __init__(self, tracker: IdleTracker) -> None:
        self.tracker = tracker
        self.reading: Reading | None = None
        self.supervisor: int | None = None  # of our attempt on it
        self.ours_last = False  # the last to use it was an attempt of ours
        self.vacated = 0.0  # when the last of ours ended
        self.last_active: float | None = None  # when it was last seen to compute; None: not known
        self.visited = False
        self.hidden_before = False  # during our attempt, at the last reading
        self.refused = False
        self.gone = False
        self.shown: tuple[bool, str] | None = None


def describe(devices: Sequence[Device]) -> list[Mapping[str, Any]]:
    """Return the devices as the journal lists them."""
    return [{"id": d.id, "name": d.name, "index": d.index} for d in devices]
