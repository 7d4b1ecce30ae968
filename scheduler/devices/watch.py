"""Polls NVML in a thread of its own: a call that hangs on a dying GPU must not hang the dispatcher."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from scheduler.devices.model import Reading
from scheduler.devices.nvml import Nvml

INTERVAL = 1.0  # seconds between two looks at every device
EAGER_INTERVAL = 0.02  # seconds between two looks at a device whose memory should soon be back


class DeviceWatch(threading.Thread):
    """Reads every device each second, and some of them eagerly; posts the readings."""

    def __init__(
        self, nvml: Nvml, devices: Iterable[str], post: Callable[[list[Reading]], None]
    ) -> None:
        super().__init__(name="device watch", daemon=True)
        self._nvml = nvml
        self._devices = list(devices)
        self._post = post
        self._changed = threading.Condition()
        self._eager: set[str] = set()
        self._look_now = False
        self._over = False

    def look_eagerly(self, device: str) -> None:
        """Look at the device now, and every few milliseconds until `look_calmly`."""
        with self._changed:
            self._eager.add(device)
            self._look_now = True
            self._changed.notify()

    def look_calmly(self, device: str) -> None:
        """Look at the device once a second again."""
        with self._changed:
            self._eager.discard(device)

    def finish(self) -> None:
        """End the thread soon; does not wait for a call that hangs."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def run(self) -> None:
        """Poll until `finish`."""
        next_full_look = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= next_full_look:
                next_full_look = now + INTERVAL
                wanted = self._devices
            else:
                wanted = list(self._eager)
            if wanted:
                self._post([self._read(device) for device in wanted])
            with self._changed:
                pause = next_full_look - time.monotonic()
                if self._eager:
                    pause = min(pause, EAGER_INTERVAL)
                if not self._look_now and not self._over and pause > 0:
                    self._changed.wait(pause)
                self._look_now = False
                if self._over:
                    return

    def _read(self, device: str) -> Reading:
        # If this thread ended, nothing would ever start again: a fault of ours costs one look.
        try:
            return self._nvml.read(device)
        except Exception as error:  # noqa: BLE001
            return Reading(device, unread=f"cannot be looked at ({type(error).__name__}: {error})")
