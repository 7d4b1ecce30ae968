"""What devices do at this moment, read in a thread: NVML may be slow, or hang on a dying GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from scheduler.devices.model import Gauges
from scheduler.devices.nvml import Nvml, NvmlUnavailable

UNKNOWN = Gauges()


class GaugeReader:
    """Reads all devices when asked to, once for each time; who asks never waits for it."""

    def __init__(self) -> None:
        self._wanted: tuple[str, ...] = ()
        self._found: Mapping[str, Gauges] = {}
        self._asked, self._answered = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def ask(self, devices: Iterable[str]) -> Mapping[str, Gauges]:
        """Have these looked at; return what was seen the last time."""
        self._wanted = tuple(name for name in devices if name.startswith(("GPU-", "MIG-")))
        if self._wanted and self._thread is None:
            self._thread = threading.Thread(target=self._read, name="gauges", daemon=True)
            self._thread.start()
        self._asked.set()
        return self._found

    def now(self, devices: Iterable[str], patience: float) -> Mapping[str, Gauges]:
        """Return what is seen now, of what answers within so many seconds."""
        self._answered.clear()
        self.ask(devices)
        if self._wanted:
            self._answered.wait(patience)
        return self._found

    def _read(self) -> None:
        try:
            nvml = Nvml.open()
        except NvmlUnavailable:
            self._answered.set()
            return
        while self._asked.wait():
            self._asked.clear()
            self._found = {device: nvml.gauges(device) for device in self._wanted}
            self._answered.set()
