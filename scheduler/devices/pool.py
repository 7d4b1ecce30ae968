"""The devices of one dispatcher: looked at, judged, leased, occupied; what changes is returned as events."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from scheduler.config.sweep import DeviceSettings
from scheduler.core import journal_events as je
from scheduler.core.events import DeviceBusy, DeviceGone, DeviceIdle
from scheduler.core.snapshot import OtherProcess
from scheduler.devices.fairness.share import FairShare
from scheduler.devices.finding import FoundDevices, room
from scheduler.devices.idle import IdleCode, Idleness, IdleReason, IdleRule, IdleTracker
from scheduler.devices.lease import Lease, LeaseFolderError, LeaseHeld, check_folder, default_folder
from scheduler.devices.model import Device, Reading
from scheduler.devices.owners import with_owners
from scheduler.devices.use import LAST_SECONDS, AttemptOnDevice, DeviceUse
from scheduler.devices.watch import INTERVAL, DeviceWatch

GIVEN_BACK = (
    0.5  # seconds within which idle supervisors have surely given the lease of a device back
)
MEMORY_BACK = 5.0  # seconds within which the memory of an ended process is surely free again
EAGER_AFTER_CHANGE = (
    0.5  # seconds; on a shared device memory is back, or the next may begin, so soon
)
# Of a server of MPS where its process cannot be seen: its context, larger than any that was measured.
MPS_SERVER = 2**30
TOLD_IN_STEPS = 256 * 2**20  # bytes that an attempt takes beyond what it asked for


class DeviceHeld(LeaseHeld):
    """A device cannot be had now; the message is a phrase that says why."""

    def __init__(self, device: str, why: str) -> None:
        self.device = device
        super().__init__(why)


_Told = je.DeviceState | je.OthersCame | je.MoreTaken | je.ShareAsked
PoolEvent = DeviceIdle | DeviceBusy | DeviceGone | _Told


def idle_rule(settings: DeviceSettings) -> IdleRule:
    """Return what the sweep demands of an idle device."""
    rule = IdleRule(settings.max_utilization, settings.min_free_memory, settings.idle_for)
    if settings.share is None or not settings.share.mps:
        return rule
    return replace(rule, max_hidden_memory=rule.max_hidden_memory + MPS_SERVER)


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
        self.all, self.where, self._nvml, self.threads, self._cpus_of_others = found
        self._settings = settings
        # Process ids of what attempts compute by, other than their own processes.
        self.servers: Collection[int] = ()
        self._by_id = {device.id: device for device in self.all}
        self._views = {
            device.id: DeviceUse(IdleTracker(idle_rule(settings))) for device in self.all
        }
        self._leases = default_folder()
        self.fairness = FairShare(self._leases, settings.idle_for, self._in_use)
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
            yield je.DeviceState(device.id, idle=True, reason="idle")
            yield DeviceIdle(device.id)

    def finish(self) -> None:
        """Stop looking."""
        if self._watch is not None:
            self._watch.finish()
        self.fairness.finish()

    def room(self, device: str) -> int:
        """Return into how many parts a device is divided."""
        return room(self._by_id[device], self._settings)

    def cpus_of_others(self) -> set[int]:
        """Return the CPUs that attempts of another sweep may be bound to."""
        cpus = set(self._cpus_of_others)
        for device, view in self._views.items():
            is_idle = view.shown is not None and view.shown[0]
            if self._nvml is not None and not view.attempts and not is_idle:
                cpus.update(self._by_id[device].cpus)
        return cpus

    def is_exclusive(self, device: str) -> bool:
        """Say whether a device takes no more than one process, by its compute mode."""
        return self._nvml is not None and self._nvml.is_exclusive(device)

    def lease(self, devices: tuple[str, ...], *, part: bool = False) -> list[Lease]:
        """Take the right to devices, or to a part of each: to all of them or none.

        They are taken in the order of their ids, and nobody waits while they hold some: of two
        dispatchers that want the same ones, whoever has the first gets the others as well. CPU slots need
        none, they are each dispatcher's own.

        Returns:
            the leases in the order of ``devices``, or none where none is needed.

        Raises:
            DeviceHeld: another dispatcher has one, or leases cannot be kept safely now; see `refused`.
        """
        if self._nvml is None:
            return []
        taken: dict[str, Lease] = {}
        for device in sorted(devices):
            if not self._views[device].attempts:
                self.give_back(device)
            try:
                taken[device] = self._acquire(device, part=part)
            except (LeaseHeld, LeaseFolderError) as why:
                for lease in taken.values():
                    lease.release()
                raise DeviceHeld(device, str(why)) from why
        return [taken[device] for device in devices]

    def _acquire(self, device: str, *, part: bool) -> Lease:
        if part:
            return Lease.acquire_part(self._leases, device, self.room(device))
        return Lease.acquire(self._leases, device)

    def give_back(self, device: str) -> None:
        """No supervisor of ours is on the device any more: give up the lease that was taken anew, too."""
        view = self._views.get(device)
        if view is not None and view.lease is not None:
            view.lease.release()
            view.lease = None

    def refused(self, held: DeviceHeld, *, part: bool = False) -> Iterator[PoolEvent]:
        """A lease was refused: the device counts as busy until it can be had."""
        view = self._views[held.device]
        view.refused, view.refused_part = True, part
        yield from self._show(
            held.device, idle=False, reason=IdleReason(IdleCode.LEASED, str(held))
        )

    def occupy(
        self,
        device: str,
        task: str,
        supervisor: int,
        *,
        share: int | None = None,
        others_came: bool = False,
    ) -> None:
        """A task's attempt begins on the device, under that supervisor, or goes on.

        Args:
            device: where it is.
            task: whose attempt it is.
            supervisor: the process id.
            share: bytes that it asks for of a device that others of ours may share; None: it is alone.
            others_came: somebody else has come to the device since the attempt began.
        """
        view = self._views.get(device)
        if view is None:
            return
        if share is None or not view.attempts:
            view.free.clear()
        view.attempts[task] = AttemptOnDevice(supervisor, share)
        view.last_active = None
        view.others_came, view.hidden_since = others_came, None
        view.changed = time.monotonic()
        self.fairness.taken(device)
        if share is not None and self._watch is not None:
            self._watch.look_eagerly(device)  # there may be room for the next

    def vacate(self, device: str, task: str) -> Iterator[PoolEvent]:
        """A task's attempt on the device is over: have it looked at, or offer it at once."""
        view = self._views.get(device)
        if view is None:
            return
        view.attempts.pop(task, None)
        view.ours_last, view.changed = True, time.monotonic()
        if self._watch is None:
            yield DeviceIdle(device)
        else:
            self._watch.look_eagerly(device)

    def least_free(self, device: str) -> int | None:
        """Return the least memory in bytes that was free in our attempt's last seconds; None: not known."""
        view = self._views.get(device)
        since = time.monotonic() - LAST_SECONDS
        return min((free for at, free in view.free if at >= since), default=None) if view else None

    def most_taken(self, device: str, task: str) -> int | None:
        """Return the most memory in bytes that a task's attempt was seen to hold there; None: not known."""
        view = self._views.get(device)
        attempt = view.attempts.get(task) if view else None
        return attempt.most_taken if attempt else None

    def is_crowded(self, device: str) -> bool:
        """Say whether several attempts of ours are on a device."""
        view = self._views.get(device)
        return view is not None and len(view.attempts) > 1

    def last_active(self, devices: tuple[str, ...]) -> float | None:
        """Return when any of an attempt's devices was last seen computing for it (monotonic).

        None if it cannot be told of one: NVML does not say, or others use it too, be it attempts of ours.
        """
        latest = 0.0
        for device in devices:
            view = self._views.get(device)
            if view is None or view.last_active is None or len(view.attempts) != 1:
                return None
            latest = max(latest, view.last_active)
        return latest

    # --- readings ------------------------------------------------------------------------------

    def judge(self, readings: Sequence[Reading]) -> Iterator[PoolEvent]:
        """Yield what readings of devices change."""
        for reading in readings:
            yield from self._judge(reading)
        yield from self.fairness.tell()

    def _in_use(self) -> tuple[list[str], float]:
        """Return the devices with attempts of ours, and when one last began or ended."""
        in_use = [device for device, view in self._views.items() if view.attempts]
        return in_use, max(view.changed for view in self._views.values())

    def _judge(self, reading: Reading) -> Iterator[PoolEvent]:
        device, now = reading.device_id, time.monotonic()
        view = self._views[device]
        if reading.unread is not None:
            yield from self._show(
                device, idle=False, reason=IdleReason(IdleCode.UNREAD, reading.unread)
            )
            if not view.attempts:  # what runs there goes on: nothing speaks against it
                yield DeviceBusy(device)
            return
        tasks = {attempt.supervisor: task for task, attempt in view.attempts.items()}
        reading, owners = with_owners(reading, {*tasks, *self.servers})
        own = {pid: tasks[owner] for pid, owner in owners.items() if owner in tasks}
        idleness = view.tracker.judge(
            reading,
            now,
            own,
            after_own=view.ours_last,
            sharing=view.sharing,
            servers=owners.keys() - own,
        )
        if reading.error is not None:
            if not view.gone:
                view.gone = True
                yield DeviceGone(device, idleness.reason.text)
            yield from self._show(device, idle=False, reason=idleness.reason, gone=True)
            assert self._watch is not None
            self._watch.look_calmly(device)  # NVML looks at all GPUs for one that it does not find
            return
        view.gone = False
        left_since, view.left_since = view.left_since, None
        if view.attempts:
            yield from self._while_ours(device, reading, idleness, own, now)
        elif not idleness.idle:
            self.fairness.taken(device)
            self._pace(device, view, idleness, now)
            yield from self._show(device, idle=False, reason=idleness.reason)
            yield DeviceBusy(device)
        elif (held := self._still_held(device, view)) is not None:
            self.fairness.taken(device)
            yield from self._show(device, idle=False, reason=IdleReason(IdleCode.LEASED, held))
        elif (left := self.fairness.why_left(device, view.tracker.quiet_since)) is not None:
            self._pace(device, view, idleness, now)
            view.left_since = now if left_since is None else left_since
            # Whoever it is left to may have it by then, and our own supervisors have given it back.
            view.refused = now >= view.left_since + GIVEN_BACK
            view.refused_part = False
            yield from self._show(device, idle=False, reason=left)
            yield DeviceBusy(device)
        else:
            self._pace(device, view, idleness, now)
            yield from self._show(device, idle=True, reason=idleness.reason)
            yield DeviceIdle(device, reading.free_memory, reading.total_memory)

    def _pace(self, device: str, view: DeviceUse, idleness: Idleness, now: float) -> None:
        """Look eagerly at a device that should fall idle within the second, calmly at others."""
        assert self._watch is not None
        soon = idleness.until is not None and idleness.until - now < INTERVAL
        coming_back = (
            not idleness.idle and not idleness.foreign and now < view.changed + MEMORY_BACK
        )
        if soon or coming_back:
            self._watch.look_eagerly(device)
        else:
            self._watch.look_calmly(device)

    def _while_ours(
        self,
        device: str,
        reading: Reading,
        idleness: Idleness,
        own: Mapping[int, str],
        now: float,
    ) -> Iterator[PoolEvent]:
        """Look on while attempts of ours run on a device.

        Args:
            device: the device.
            reading: the look at it.
            idleness: what is made of that.
            own: the tasks of the attempts' processes, by process id.
            now: when it was judged.
        """
        view = self._views[device]
        self._keep_lease(device, view)
        view.note_memory(reading, own)
        yield from self._more_taken(device, view)
        if reading.free_memory is not None:
            view.free.append((now, reading.free_memory))
        # Memory that is nobody's in sight is foreign only where NVML shows us our own process, and
        # where it stays: a process of ours leaves NVML's list before its memory is free again.
        hidden = idleness.hidden_memory if own else 0
        if reading.utilization is None or idleness.foreign or hidden:
            view.last_active = None
        elif reading.utilization or view.last_active is None:
            view.last_active = now
        if not hidden:
            view.hidden_since = None
        elif view.hidden_since is None:
            view.hidden_since = now
        lasting = view.hidden_since is not None and now >= view.hidden_since + MEMORY_BACK
        if (idleness.foreign or lasting) and not view.others_came:
            view.others_came = True
            processes = [OtherProcess(p.pid, p.name, p.user) for p in idleness.foreign]
            yield je.OthersCame(device, processes, hidden)
        if not view.sharing:
            return
        assert self._watch is not None
        if now >= view.changed + EAGER_AFTER_CHANGE:
            self._watch.look_calmly(device)
        kept_by_others = not idleness.idle or lasting or self._still_held(device, view) is not None
        if kept_by_others or self.fairness.why_left(device, None) is not None:
            yield DeviceBusy(device)
        else:
            yield DeviceIdle(device, view.free_for_more(reading), reading.total_memory)

    def _more_taken(self, device: str, view: DeviceUse) -> Iterator[PoolEvent]:
        """Tell of attempts that hold more of a shared device than they asked for, as that grows."""
        for task, attempt in view.attempts.items():
            if attempt.share is not None and (attempt.most_taken or 0) > attempt.told:
                attempt.told = -(-(attempt.most_taken or 0) // TOLD_IN_STEPS) * TOLD_IN_STEPS
                yield je.MoreTaken(task, device, attempt.most_taken or 0, attempt.share)

    def _keep_lease(self, device: str, view: DeviceUse) -> None:
        """Take the lease of a device in our use anew if its file was removed or replaced.

        As a rule it cannot be had, for our own supervisor has it.
        """
        with suppress(LeaseHeld, LeaseFolderError):
            anew = Lease.acquire(self._leases, device)
            if view.sharing:
                anew.let_share()
            self.give_back(device)
            view.lease = anew

    def _still_held(self, device: str, view: DeviceUse) -> str | None:
        """Try a lease that was refused before; without this, a task would be sent there every second.

        Returns:
            by whom the device is held; None: by nobody, as far as is known.
        """
        if not view.refused:
            return None
        try:
            self._acquire(device, part=view.refused_part).release()
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
            yield je.DeviceState(device, idle, reason.text, gone)
