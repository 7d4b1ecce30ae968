"""What is to come, for an executor that begins some of it before its time: pure questions to the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from scheduler.config.sweep import Sweep, Task
from scheduler.core.core import Core
from scheduler.core.states import State
from scheduler.devices.model import Device
from scheduler.executors.base import Ahead, StartRequest
from scheduler.executors.request import build_request
from scheduler.executors.source_version import SourceReader
from scheduler.storage.paths import SweepPaths


class Foresight(Ahead):
    """What a dispatcher's core has still to start."""

    def __init__(
        self,
        core: Core,
        sweep: Callable[[], Sweep],
        tasks: Callable[[], Mapping[str, Task]],
        devices: Sequence[Device],
        paths: SweepPaths,
        source: SourceReader,
    ) -> None:
        """Foresee nothing before it is asked.

        Args:
            core: that decides.
            sweep: returns the sweep as it is now.
            tasks: returns its tasks by their ids.
            devices: on which it may run.
            paths: of its files.
            source: tells where the code is that attempts run.
        """
        self._core = core
        self._sweep = sweep
        self._tasks = tasks
        self._devices = devices
        self._paths = paths
        self._source = source

    def waiting(self) -> int:
        return self._core.count(State.WAITING)

    def next_task(self) -> tuple[str, str] | None:
        start, sweep = self._core.next_start(), self._sweep()
        if start is None or not start.alone or sweep.devices_of(start.task) != 1:
            return None
        return start.task, sweep.digest(self._tasks()[start.task])

    def next_request(self) -> StartRequest:
        start = self._core.next_start()
        assert start is not None
        device = self._devices[0]  # as any
        return build_request(
            self._sweep(),
            self._tasks()[start.task],
            replace(start, devices=(device.id,)),
            [device],
            self._paths,
            free_memory={},
            source=self._source,
        )
