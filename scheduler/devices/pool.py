"""The devices of one dispatcher: looked at, judged, leased, occupied; what changes is returned as events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from scheduler.config.sweep import DeviceSettings
from scheduler.core.events import DeviceBusy, DeviceGone, DeviceIdle
from scheduler.core.journal_events import DeviceState, OtherProcess, OthersCame
from scheduler.devices.finding import FoundDevices
from scheduler.devices.idle import IdleCode, Idleness, IdleReason, IdleRule, IdleTracker
from scheduler.devices.lease import Lease, LeaseFolderError, LeaseHeld, check_folder, default_folder
from scheduler.devices.model import Device, Reading
from scheduler.devices.owners import with_owners
from scheduler.devices.watch import INTERVAL, DeviceWatch

LAST_SECONDS = 5.0  # of an attempt, in which the memory that it lacked was short
LAST_READINGS = int(LAST_SECONDS / INTERVAL) + 1
MEMORY_BACK = 5.0  # seconds within which the memory of an ended process is surely free again

PoolEvent = DeviceIdle | DeviceBusy | DeviceGone | DeviceState | OthersCame


def idle_rule(settings: DeviceSettings) -> IdleRule:
    """Return what the sweep demands of an idle device."""
    return IdleRule(settings.max_utilization, settings.min_free_memory, settings.idle_for)


class DevicePool:
    """The devices that were found, as one dispatcher uses them."""

    def __init__(
        self,
        found: FoundDevices,
        settings: DeviceSettings,
        post: Callable[[list[Reading]], None],
    ) -> None:
        """Begin with devices of which nothing is known.

        Args:
            found: where attempts may run.
            settings: the sweep's ``devices`` section.
            post: takes readings, which `judge` is then to be given; called from another thread.

        Raises:
            LeaseFolderError: leases cannot be kept where they are needed; the message says what to do.
        """
        self.all, self.where, self._nvml, self.threads = found
        self._by_id = {device.id: device for device in self.all}
        self._views = {device.id: _View(IdleTracker(idle_rule(settings))) for device in self.all}
        self._leases = default_folder()
        self._watch: DeviceWatch | None = None
        if self._nvml is not None:
            if (warning := check_folder(self._leases)) is not None:
                self.where += f"; {warning}"
            self._watch = DeviceWatch(self._nvml, self._by_id, post)

    def __getitem__(self, device: str) -> Device:
        return self._by_id[device]

    def start(self) -> Iterator[PoolEvent]:
        """Begin to look at the devices; attempts taken over are occupying theirs by now."""
        if self._watch is not None:
            self._watch.start()
            return
        for device in self.all:
            yield DeviceState(device.id, idle=True, reason="idle")
            yield DeviceIdle(device.id)

    def finish(self) -> None:
        """Stop looking."""
        if self._watch is not None:
            self._watch.finish()

    def lease(self, device: str) -> Lease | None:
        """Take the exclusive right to a device; CPU slots need none, they are each dispatcher's own.

        Raises:
            LeaseHeld: another dispatcher has it, or leases cannot be kept safely any more; see `refused`.
        """
        if self._nvml is None:
            return None
        self.give_back(device)
        try:
            return Lease.acquire(self._leases, device)
        except LeaseFolderError as why:
            raise LeaseHeld(str(why)) from why

    def give_back(self, device: str) -> None:
        """No supervisor of ours is on the device any more: give up the lease that was taken anew, too."""
        view = self._views.get(device)
        if view is not None and view.lease is not None:
            view.lease.release()
            view.lease = None

    def refused(self, device: str, why: str) -> Iterator[PoolEvent]:
        """A lease was refused: the device counts as busy until it can be had."""
        self._views[device].refused = True
        yield from self._show(device, idle=False, reason=IdleReason(IdleCode.LEASED, why))

    def occupy(self, device: str, supervisor: int, *, others_came: bool = False) -> None:
        """An attempt of ours begins on the device, under that supervisor, or goes on."""
        view = self._views.get(device)
        if view is not None:
            view.supervisor, view.last_active = supervisor, None
            view.others_came, view.hidden_before = others_came, False
            view.free.clear()

    def vacate(self, device: str) -> Iterator[PoolEvent]:
        """Our attempt on the device is over: have it looked at, or offer it at once."""
        view = self._views.get(device)
        if view is None:
            return
        view.supervisor, view.ours_last, view.vacated = None, True, time.monotonic()
        if self._watch is None:
            yield DeviceIdle(device)
        else:
            self._watch.look_eagerly(device)

    def least_free(self, device: str) -> int | None:
        """Return the least memory in bytes that was free in our attempt's last seconds; None: not known."""
        view = self._views.get(device)
        since = time.monotonic() - LAST_SECONDS
        return min((free for at, free in view.free if at >= since), default=None) if view else None

    def last_active(self, device: str) -> float | None:
        """Return when the device was last seen computing for us (monotonic).

        None if it cannot be told: NVML does not say, or others use it too.
        """
        view = self._views.get(device)
        return view.last_active if view else None

    # --- readings ------------------------------------------------------------------------------

    def judge(self, readings: Sequence[Reading]) -> Iterator[PoolEvent]:
        """Yield what readings of devices change."""
        for reading in readings:
            yield from self._judge(reading)

    def _judge(self, reading: Reading) -> Iterator[PoolEvent]:
        device, now = reading.device_id, time.monotonic()
        view = self._views[device]
        if reading.unread is not None:
            yield from self._show(
                device, idle=False, reason=IdleReason(IdleCode.UNREAD, reading.unread)
            )
            if view.supervisor is None:  # what runs there goes on: nothing speaks against it
                yield DeviceBusy(device)
            return
        reading, own = with_owners(reading, view.supervisor)
        idleness = view.tracker.judge(reading, now, own, after_own=view.ours_last)
        if reading.error is not None:
            if not view.gone:
                view.gone = True
                yield DeviceGone(device, idleness.reason.text)
            yield from self._show(device, idle=False, reason=idleness.reason, gone=True)
            assert self._watch is not None
            self._watch.look_calmly(device)  # NVML looks at all GPUs for one that it does not find
            return
        view.gone = False
        if view.supervisor is not None:
            yield from self._while_ours(device, reading, idleness, own, now)
        elif not idleness.idle:
            self._pace(device, view, idleness, now)
            yield from self._show(device, idle=False, reason=idleness.reason)
            yield DeviceBusy(device)
        elif (held := self._still_held(device, view)) is not None:
            yield from self._show(device, idle=False, reason=IdleReason(IdleCode.LEASED, held))
        else:
            self._pace(device, view, idleness, now)
            yield from self._show(device, idle=True, reason=idleness.reason)
            yield DeviceIdle(device, reading.free_memory, reading.total_memory)

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
    ) -> Iterator[PoolEvent]:
        view = self._views[device]
        self._keep_lease(device, view)
        if reading.free_memory is not None:
            view.free.append((now, reading.free_memory))
        # Memory that is nobody's in sight is foreign only where NVML shows us our own process, and
        # twice in a row: a child of the worker may have ended between the reading's parts.
        hidden = idleness.hidden_memory if own else 0
        if reading.utilization is None or idleness.foreign or hidden:
            view.last_active = None
        elif reading.utilization or view.last_active is None:
            view.last_active = now
        lasting, view.hidden_before = hidden and view.hidden_before, bool(hidden)
        if (idleness.foreign or lasting) and not view.others_came:
            view.others_came = True
            processes = [OtherProcess(p.pid, p.name, p.user) for p in idleness.foreign]
            yield OthersCame(device, processes, hidden)

    def _keep_lease(self, device: str, view: _View) -> None:
        """Take the lease of a device in our use anew if its file was removed or replaced.

        As a rule it cannot be had, for our own supervisor has it.
        """
        with suppress(LeaseHeld, LeaseFolderError):
            anew = Lease.acquire(self._leases, device)
            self.give_back(device)
            view.lease = anew

    def _still_held(self, device: str, view: _View) -> str | None:
        """Try a lease that was refused before; without this, a task would be sent there every second.

        Returns:
            by whom the device is held; None: by nobody, as far as is known.
        """
        if not view.refused:
            return None
        try:
            Lease.acquire(self._leases, device).release()
        except (LeaseHeld, LeaseFolderError) as why:
            return str(why)
        view.refused = False
        return None

    def _show(
        self, device: str, *, idle: bool, reason: IdleReason, gone: bool = False
    ) -> Iterator[PoolEvent]:
        """Tell of a device's state when it changes; not each new percentage."""
        view = self._views[device]
        shown = (idle, reason.kind)
        if view.shown != shown:
            view.shown = shown
            yield DeviceState(device, idle, reason.text, gone)


class _View:
    """What is known of one device."""

    def __init__(self, tracker: IdleTracker) -> None:
        self.tracker = tracker
        # The supervisor of our attempt on it.
        self.supervisor: int | None = None
        # The last to use it was an attempt of ours.
        self.ours_last = False
        # When the last of ours ended.
        self.vacated = 0.0
        # When it was last seen to compute; None: not known.
        self.last_active: float | None = None
        # Others came while our attempt ran.
        self.others_came = False
        # There was memory of nobody in sight during our attempt, at the last reading.
        self.hidden_before = False
        # When how much memory was free during our attempt: the last readings.
        self.free: deque[tuple[float, int]] = deque(maxlen=LAST_READINGS)
        # Beside its supervisor's, of whose file the name is gone.
        self.lease: Lease | None = None
        # A lease of it was refused.
        self.refused = False
        self.gone = False
        # What was last told of it, without figures.
        self.shown: tuple[bool, tuple[object, ...]] | None = None
