"""How a sweep stands, as a file for Prometheus: node_exporter's textfile collector reads it.

The names keep to Prometheus' conventions; docs/monitoring.md lists them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.views.display import RunDisplay

INTERVAL = 15.0  # seconds between two writings; scrapers look about as often
_PREFIX = "diffusion_sweeps"


class MetricsFile:
    """A display beside another one: what it shows is written to a file, whole or not at all."""

    def __init__(self, beside: RunDisplay, sweep: str, progress: SweepProgress, path: Path) -> None:
        """Write the file for the first time.

        Raises:
            OSError: it cannot be written.
        """
        self._beside, self._path = beside, path
        self._metrics = _Metrics(sweep, progress)
        self._registry = CollectorRegistry()
        self._registry.register(self._metrics)
        self._due = 0.0
        self._trouble: str | None = None
        write_to_textfile(str(path), self._registry)

    def event(self, entry: je.Entry) -> None:
        """Pass an event on."""
        self._beside.event(entry)

    def refresh(self) -> float:
        """Write the file if it is time to."""
        if time.monotonic() >= self._due:
            self._write()
            self._due = time.monotonic() + INTERVAL
        left = max(0.0, self._due - time.monotonic())
        again = self._beside.refresh()
        return left if again is None else min(left, again)

    def close(self) -> None:
        """Write that nothing runs any more."""
        self._beside.close()
        self._metrics.up = False
        self._write()

    def _write(self) -> None:
        """Write the file; where that fails the sweep goes on, and it is said once."""
        trouble = None
        try:
            write_to_textfile(str(self._path), self._registry)
        except OSError as error:
            trouble = error.strerror
            if trouble != self._trouble:
                print(
                    f"--metrics-file: {self._path}: {trouble}; the sweep goes on", file=sys.stderr
                )
        self._trouble = trouble


class _Metrics:
    """The figures, read when they are written: a collector, as prometheus_client calls it."""

    def __init__(self, sweep: str, progress: SweepProgress) -> None:
        self.up = True
        self._sweep, self._progress = sweep, progress

    def collect(self) -> Iterator[Any]:
        """Yield all metrics."""
        progress, sweep = self._progress, [self._sweep]
        yield self._gauge("up", "Whether a dispatcher runs the sweep.", float(self.up))
        tasks = GaugeMetricFamily(
            f"{_PREFIX}_tasks", "Tasks of the sweep by state.", labels=["sweep", "state"]
        )
        for state, count in progress.counts.items():
            tasks.add_metric([*sweep, state], count)
        yield tasks
        at_work = GaugeMetricFamily(
            f"{_PREFIX}_device_tasks",
            "Tasks that run on a device.",
            labels=["sweep", "device", "name"],
        )
        for device in progress.devices.values():
            at_work.add_metric([*sweep, device.index, device.name], len(device.tasks))
        yield at_work
        paused = progress.trouble is not None or progress.paused_by is not None
        yield self._gauge("paused", "Whether nothing new is started.", float(paused))
        yield self._counter(
            "idle_seconds",
            "Device-seconds for which a device was idle while a task waited.",
            progress.idle_seconds,
        )
        yield self._counter(
            "lost_seconds", "Device-seconds of attempts that failed.", progress.lost_seconds
        )

    def _gauge(self, name: str, text: str, value: float) -> Any:
        family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=["sweep"])
        family.add_metric([self._sweep], value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Any:
        family = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=["sweep"])
        family.add_metric([self._sweep], value)
        return family
