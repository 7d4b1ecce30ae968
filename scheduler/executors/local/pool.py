"""The keepers of one dispatcher: one for each device in use, listened to, given back when idle."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from scheduler.devices.pool import Devices
from scheduler.executors.local.handles import KeeperHandle
from scheduler.executors.worker_process import worker_environment

KEEP_IDLE = 1.0  # seconds after which a keeper without work gives its device back


class Keepers:
    """Starts keepers, hears them and lets them go."""

    def __init__(
        self,
        devices: Devices,
        environments: tuple[Mapping[str, str], Mapping[str, str]],
        complaints: Path,
        selector: selectors.BaseSelector,
        *,
        heard: Callable[[KeeperHandle, Mapping[str, Any]], None],
        lost: Callable[[str, KeeperHandle], None],
    ) -> None:
        """Begin without any.

        Args:
            devices: where they are to be.
            environments: of the workers: the sweep's own, and what they inherit.
            complaints: where a keeper's traceback goes, should one ever fail.
            selector: of the dispatcher's loop.
            heard: is told of each answer of a keeper.
            lost: is told of the death of a device's keeper.
        """
        self._devices = devices
        self._own, self._inherited = environments
        self._complaints = complaints
        self._selector = selector
        self._by_device: dict[str, KeeperHandle] = {}
        self._idle: dict[str, float] = {}  # device -> since when (monotonic)
        self._heard, self._lost = heard, lost

    def on(self, device: str) -> KeeperHandle:
        """Return the device's keeper, started now if it has none.

        Raises:
            LeaseHeld: the device cannot be had now.
            OSError: no process could be started.
        """
        keeper = self._by_device.get(device)
        if keeper is None:
            kind, threads = self._devices[device].kind, self._devices.threads
            environment = worker_environment(device, kind, threads, self._own, self._inherited)
            lease = self._devices.lease(device)
            try:
                keeper = KeeperHandle(lease, environment, self._complaints)
            except OSError:
                if lease is not None:
                    lease.release()
                raise
            self._by_device[device] = keeper
            self._idle[device] = time.monotonic()
            self._selector.register(
                keeper, selectors.EVENT_READ, partial(self._speaks, device, keeper)
            )
        return keeper

    def works(self, device: str) -> None:
        """The device's keeper is about to get an order."""
        self._idle.pop(device, None)

    def rests(self, device: str) -> None:
        """The device's keeper, if it has one still, has no attempt any more."""
        if device in self._by_device:
            self._idle[device] = time.monotonic()

    def next_release(self) -> float | None:
        """Return when `release_idle` has something to do next (monotonic), or None."""
        return min(self._idle.values()) + KEEP_IDLE if self._idle else None

    def release_idle(self) -> None:
        """Give back the devices whose keepers have been idle for long enough."""
        now = time.monotonic()
        for device, since in list(self._idle.items()):
            if now - since >= KEEP_IDLE:
                self._release(device)

    def release_all(self) -> None:
        """Let every keeper go: those with an attempt when it is over."""
        for device in list(self._by_device):
            self._release(device)

    def _release(self, device: str) -> None:
        keeper = self._forget(device)
        idle = self._idle.pop(device, None) is not None
        keeper.release()
        if idle:
            keeper.reap()

    def _forget(self, device: str) -> KeeperHandle:
        keeper = self._by_device.pop(device)
        self._selector.unregister(keeper)
        return keeper

    def _speaks(self, device: str, keeper: KeeperHandle) -> None:
        answers, alive = keeper.receive()
        for answer in answers:
            self._heard(keeper, answer)
        if not alive:
            self._forget(device)
            self._idle.pop(device, None)
            keeper.release()
            keeper.reap()
            self._lost(device, keeper)
