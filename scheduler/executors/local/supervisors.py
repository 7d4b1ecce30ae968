"""The supervisors of one dispatcher: one for each attempt at once, with its devices, given back when idle."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.devices.lease import Lease
from scheduler.devices.model import joined_cpus
from scheduler.devices.pool import DevicePool
from scheduler.executors.local import wire
from scheduler.executors.local.handles import PreparingSupervisor, Spawner, SupervisorHandle
from scheduler.executors.local.mps import Mps
from scheduler.executors.local.preload.loaded import ForkedProcess, LoadedParent, ParentGone
from scheduler.executors.worker_process import worker_environment

KEEP_IDLE = 1.0  # seconds after which a supervisor without work gives its device back


@dataclass(slots=True)
class Seat:
    """A supervisor, and what it has for its attempts."""

    supervisor: SupervisorHandle
    devices: tuple[str, ...]
    # It has a part of each device, not all of it.
    part: bool
    # The CPUs that its attempts are bound to.
    cpus: Sequence[int]
    # That it was forked from, and forks its workers as; None: it starts programs.
    parent: LoadedParent | None
    # Since when it has no work (monotonic); None: it has.
    idle_since: float | None

    def reap(self) -> None:
        """Wait for its supervisor, which was let go, unless that has an attempt to see to its end."""
        if self.idle_since is not None:
            self.supervisor.reap()


class SupervisorPool:
    """Starts and stops supervisors, each with a device, several, or a part of one."""

    def __init__(
        self,
        devices: DevicePool,
        environments: tuple[Mapping[str, str], Mapping[str, str]],
        stderr_path: Path,
        selector: selectors.BaseSelector,
        folder: Path | None = None,
    ) -> None:
        """Begin without any.

        Args:
            devices: where they are to be.
            environments: of the workers: the sweep's own, and what they inherit.
            stderr_path: where a supervisor's traceback goes, should one ever fail.
            selector: where each is registered while it is here, with its seat as data.
            folder: where workers run; None: in the current folder.
        """
        self._devices = devices
        # By which attempts that share a device compute.
        self.mps: Mps | None = None
        self._own, self._inherited = environments
        self._spawn = Spawner(stderr_path, folder)
        self._selector = selector
        self._seats: list[Seat] = []

    def on(
        self,
        devices: tuple[str, ...],
        *,
        part: bool = False,
        parent: LoadedParent | None = None,
        failed: Callable[[ParentGone], None],
        prepared: PreparingSupervisor | None = None,
    ) -> Seat:
        """Return a supervisor on these devices that has no work, started now if there is none.

        Args:
            devices: where it is to be.
            part: it has a part of each, not all of it.
            parent: from which it is to be forked; None: from none.
            failed: told that it could not be; then it is started as a program.
            prepared: take this one, which waits for devices.

        Raises:
            DeviceHeld: one of them, or a part of it, cannot be had now.
            OSError: no process could be started.
        """
        wanted = set(devices)
        for seat in [s for s in self._seats if s.idle_since is not None]:
            same = (seat.devices, seat.part, seat.parent) == (devices, part, parent)
            if same and prepared is None:
                return seat
            if not wanted.isdisjoint(seat.devices):
                # It has them with others, or parts where the whole is wanted, or starts workers otherwise.
                self._release(seat)
        return self._start(devices, part, parent, failed, prepared)

    def _start(
        self,
        devices: tuple[str, ...],
        part: bool,
        parent: LoadedParent | None,
        failed: Callable[[ParentGone], None],
        prepared: PreparingSupervisor | None,
    ) -> Seat:
        on = [self._devices[device] for device in devices]
        leases = self._devices.lease(devices, part=part)
        shares, threads = [device.cpus for device in on], self._devices.threads
        for number, lease in enumerate(leases):
            if lease.part is not None:
                shares[number] = on[number].part_cpus(lease.part)
                threads = threads and max(1, threads // self._devices.room(lease.device_id))
        cpus = joined_cpus(shares)
        environment = worker_environment(on, threads, self._own, self._inherited)
        try:
            heirloom: Sequence[int] = ()
            if part and self.mps is not None:
                environment |= self.mps.environment
                heirloom = self.mps.heirloom
            setup = wire.Setup(environment, list(cpus))
            supervisor = self._supervisor(leases, setup, parent, failed, prepared, heirloom)
            if not isinstance(supervisor.process, ForkedProcess):
                parent = None
        except OSError:
            for lease in leases:
                lease.release()
            raise
        seat = Seat(supervisor, devices, part, cpus, parent, time.monotonic())
        self._seats.append(seat)
        self._selector.register(supervisor, selectors.EVENT_READ, seat)
        return seat

    def _supervisor(
        self,
        leases: Sequence[Lease],
        setup: wire.Setup,
        parent: LoadedParent | None,
        failed: Callable[[ParentGone], None],
        prepared: PreparingSupervisor | None,
        heirloom: Sequence[int],
    ) -> SupervisorHandle:
        """Return one that has these leases: prepared, else forked, else a program.

        Raises:
            OSError: no process could be started.
        """
        if prepared is not None:
            try:
                prepared.hand_over(leases, setup)
            except OSError:  # it was killed
                prepared.release()
            else:
                return prepared
        if parent is not None:
            try:
                return SupervisorHandle(leases, setup, parent, heirloom)
            except ParentGone as why:
                failed(why)
        return SupervisorHandle(leases, setup, self._spawn, heirloom)

    def has(self, device: str) -> bool:
        """Say whether a supervisor is on the device."""
        return any(device in seat.devices for seat in self._seats)

    def rests(self, supervisor: SupervisorHandle) -> None:
        """A supervisor has no attempt any more."""
        for seat in self._seats:
            if seat.supervisor is supervisor:
                seat.idle_since = time.monotonic()

    def next_release(self) -> float | None:
        """Return when `release_idle` has something to do next (monotonic), or None."""
        idle = [seat.idle_since for seat in self._seats if seat.idle_since is not None]
        return min(idle) + KEEP_IDLE if idle else None

    def release_idle(self) -> None:
        """Give back what supervisors have that have been idle for long enough, or that is left to others."""
        now = time.monotonic()
        for seat in list(self._seats):
            if seat.idle_since is None:
                continue
            left = any(map(self._devices.fairness.is_left, seat.devices))
            if left or now - seat.idle_since >= KEEP_IDLE:
                self._release(seat)

    def release_all(self) -> None:
        """Let every supervisor go: those with an attempt when it is over."""
        seats = list(self._seats)
        for seat in seats:
            self._let_go(seat)
        for seat in seats:  # they end side by side
            seat.reap()

    def bury(self, seat: Seat) -> None:
        """Forget a supervisor that is dead."""
        self._forget(seat)
        seat.supervisor.release()
        seat.supervisor.reap()

    def _release(self, seat: Seat) -> None:
        self._let_go(seat)
        seat.reap()

    def _let_go(self, seat: Seat) -> None:
        self._forget(seat)
        seat.supervisor.release()

    def _forget(self, seat: Seat) -> None:
        self._seats.remove(seat)
        for device in seat.devices:
            if not self.has(device):
                self._devices.give_back(device)
        self._selector.unregister(seat.supervisor)
