"""The supervisors of one dispatcher: one for each device in use, given back when idle."""

from __future__ import annotations

import selectors
import time
from collections.abc import Mapping
from pathlib import Path

from scheduler.devices.pool import DevicePool
from scheduler.executors.local import wire
from scheduler.executors.local.handles import SupervisorHandle
from scheduler.executors.worker_process import worker_environment

KEEP_IDLE = 1.0  # seconds after which a supervisor without work gives its device back


class SupervisorPool:
    """Starts and stops supervisors, by the device that each has."""

    def __init__(
        self,
        devices: DevicePool,
        environments: tuple[Mapping[str, str], Mapping[str, str]],
        stderr_path: Path,
        selector: selectors.BaseSelector,
    ) -> None:
        """Begin without any.

        Args:
            devices: where they are to be.
            environments: of the workers: the sweep's own, and what they inherit.
            stderr_path: where a supervisor's traceback goes, should one ever fail.
            selector: where each is registered while it is here, with its device as data.
        """
        self._devices = devices
        self._own, self._inherited = environments
        self._stderr_path = stderr_path
        self._selector = selector
        self._by_device: dict[str, SupervisorHandle] = {}
        # Since when (monotonic), by device.
        self._idle: dict[str, float] = {}

    def __getitem__(self, device: str) -> SupervisorHandle:
        return self._by_device[device]

    def on(self, device: str) -> SupervisorHandle:
        """Return the device's supervisor, started now if it has none.

        Raises:
            LeaseHeld: the device cannot be had now.
            OSError: no process could be started.
        """
        supervisor = self._by_device.get(device)
        if supervisor is None:
            on = self._devices[device]
            setup = wire.Setup(
                worker_environment(on, self._devices.threads, self._own, self._inherited),
                list(on.cpus),
            )
            lease = self._devices.lease(device)
            try:
                supervisor = SupervisorHandle(lease, setup, self._stderr_path)
            except OSError:
                if lease is not None:
                    lease.release()
                raise
            self._by_device[device] = supervisor
            self._idle[device] = time.monotonic()
            self._selector.register(supervisor, selectors.EVENT_READ, device)
        return supervisor

    def __contains__(self, device: str) -> bool:
        return device in self._by_device

    def works(self, device: str) -> None:
        """The device's supervisor is about to get an order."""
        self._idle.pop(device, None)

    def rests(self, device: str) -> None:
        """The device's supervisor has no attempt any more."""
        self._idle[device] = time.monotonic()

    def next_release(self) -> float | None:
        """Return when `release_idle` has something to do next (monotonic), or None."""
        return min(self._idle.values()) + KEEP_IDLE if self._idle else None

    def release_idle(self) -> None:
        """Give back the devices whose supervisors have been idle for long enough."""
        now = time.monotonic()
        for device, since in list(self._idle.items()):
            if now - since >= KEEP_IDLE:
                self._release(device)

    def release_all(self) -> None:
        """Let every supervisor go: those with an attempt when it is over."""
        for device in list(self._by_device):
            self._release(device)

    def bury(self, device: str) -> None:
        """Forget the device's supervisor, which is dead."""
        supervisor = self._forget(device)
        self._idle.pop(device, None)
        supervisor.release()
        supervisor.reap()

    def _release(self, device: str) -> None:
        supervisor = self._forget(device)
        idle = self._idle.pop(device, None) is not None
        supervisor.release()
        if idle:
            supervisor.reap()

    def _forget(self, device: str) -> SupervisorHandle:
        supervisor = self._by_device.pop(device)
        self._devices.give_back(device)
        self._selector.unregister(supervisor)
        return supervisor
