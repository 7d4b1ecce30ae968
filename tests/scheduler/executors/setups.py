"""What the executor contract is tested on: for each executor, a setup of devices and files in a folder.

To have another executor tested, add a class with the same methods to `SETUPS`. A setup is made again in
another process, by its name and its folder, and is the same setup there: that process is killed.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from scheduler.config.cluster.settings import RaySettings, SlurmSettings
from scheduler.config.loader import read_sweep
from scheduler.core.events import Start
from scheduler.core.journal_events import Preloaded
from scheduler.devices.finding import FoundDevices, cpu_slots
from scheduler.devices.model import Device, Reading
from scheduler.executors.allocation.steps import Steps
from scheduler.executors.base import (
    Ahead,
    Executor,
    ExecutorEvent,
    Refused,
    Started,
    StartRequest,
)
from scheduler.executors.local.executor import LocalExecutor
from scheduler.executors.ray.check import slots as ray_slots
from scheduler.executors.ray.executor import RayExecutor
from scheduler.executors.request import build_request
from scheduler.executors.slurm.check import slots
from scheduler.executors.slurm.executor import SlurmExecutor
from scheduler.executors.source_version import SourceReader
from scheduler.storage.attempts_file import AttemptRecord, read_attempts
from scheduler.storage.paths import SweepPaths
from tests.helpers.ray_lab import the_ray, why_no_ray
from tests.helpers.slurm import the_lab, why_no_slurm
from tests.helpers.waiting import readable, wait_until

SHELL = Path(__file__).parents[2] / "helpers" / "preloaded_shell.py"
PATIENCE = 60.0  # seconds; only a test that fails waits so long
SWEEP = """
matrix: {letter: [a, b]}
worker: {command: [sh, -c, "exit 0"], env: {OF_THE_SWEEP: "yes"}}
devices: {idle_for: 0s, cpu_slots: 2}
"""
T = TypeVar("T")


class LocalSetup:
    """Two CPU slots of this machine."""

    text = SWEEP
    leases = False
    # What a killed supervisor leaves lives until somebody ends it.
    orphans_live = True

    @staticmethod
    def why_not() -> str | None:
        """Return why it cannot be had here, or None."""
        return None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sweep_file = folder / "contract.yaml"
        if not self.sweep_file.exists():
            self.sweep_file.write_text(self.text)
        self.sweep = read_sweep(self.sweep_file)
        self.paths = SweepPaths(folder, "contract")
        self.paths.make_folders()
        os.environ["SCHEDULER_LEASES"] = str(folder / "leases")

    def close(self) -> None:
        """Give back what the setup has taken of the process."""

    def found(self) -> FoundDevices:
        return FoundDevices(cpu_slots(2), "two slots", None)

    def executor(self) -> Executor:
        """Return an executor, of as many as there are at a time."""
        return LocalExecutor(self.sweep, self.paths, self.found(), os.environ)

    def looks(self) -> int | None:
        """Return how often a device has been looked at so far; None: none ever is."""
        return None

    def visible(self, devices: Sequence[Device]) -> str:
        """Return the CUDA_VISIBLE_DEVICES of an attempt on these devices."""
        return ",".join(device.id for device in devices if device.kind != "cpu")

    def kill_watcher(self, record: AttemptRecord) -> None:
        """Kill without a warning what an attempt was started by, and what would see its end."""
        assert record.started.supervisor is not None
        os.kill(record.started.supervisor, signal.SIGKILL)

    # --- the same for every executor -----------------------------------------------------------

    def request(
        self,
        executor: Executor,
        script: str,
        *,
        task: str = "a",
        number: int = 1,
        devices: Sequence[int] = (0,),
    ) -> StartRequest:
        """Return the request to run a shell script."""
        on = [executor.devices[place] for place in devices]
        asked = next(t for t in self.sweep.tasks if t.id == task)
        start = Start(task, number, tuple(device.id for device in on), 0)
        request = build_request(
            self.sweep,
            asked,
            start,
            on,
            self.paths,
            free_memory={},
            source=SourceReader.of(self.sweep, self.paths, os.environ),
            scratch=executor.scratch,
        )
        return replace(request, command=["sh", "-c", script], grace=0.2)

    def record(self, task: str = "a") -> AttemptRecord:
        """Return the task's last attempt as its file has it."""
        return read_attempts(self.paths.attempts(task))[-1]


class Idle:
    """NVML on a machine whose GPUs nobody uses."""

    looks = 0

    def read(self, device: str) -> Reading:
        Idle.looks += 1
        return Reading(device, 0, free_memory=2**34, total_memory=2**34, processes=())


class LocalGpuWorld(LocalSetup):
    """Two GPUs of this machine, with leases between all executors."""

    leases = True

    def found(self) -> FoundDevices:
        gpus = [Device(f"GPU-{n}", "a GPU", str(n), "gpu", total_memory=2**34) for n in range(2)]
        nvml: Any = Idle()
        return FoundDevices(gpus, "two GPUs", nvml)

    def looks(self) -> int:
        return Idle.looks


class SlurmSetup(LocalSetup):
    """Two jobs at a time of a real Slurm, without GPUs."""

    orphans_live = False
    # As short a lease as a sweep may ask for: on a loaded machine a sign of life is late.
    settings = SlurmSettings(60.0, gres="", lease=10.0)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if "SLURM_CONF" not in os.environ:  # else this is the process that is killed
            os.environ |= the_lab().environment

    @staticmethod
    def why_not() -> str | None:
        return why_no_slurm()

    def found(self) -> FoundDevices:
        return FoundDevices(slots(2, self.settings), "two jobs", None)

    def executor(self) -> Executor:
        found = (self.found().all, "two jobs")
        return SlurmExecutor(self.sweep, self.paths, self.settings, found, os.environ)

    def visible(self, devices: Sequence[Device]) -> str:
        return ""


class ForkedSetup(LocalSetup):
    """Two CPU slots of this machine, and a process from which attempts are forked."""

    text = SWEEP.replace("worker: {", f"worker: {{preload: {SHELL.stem}, ").replace(
        "[sh, -c", f"[python, {json.dumps(str(SHELL))}"
    )

    def executor(self) -> Executor:
        executor = super().executor()
        executor.foresee(Many())
        driver, request = Driver(executor), self.request(executor, "exit 0")
        executor.start(replace(request, done_file=self.sweep_file))  # as good as completed
        driver.until(Refused)
        driver.past = 0  # whichever is told first
        if (told := driver.until(Preloaded)).why is not None:
            raise AssertionError(told)
        return executor

    def request(self, executor: Executor, script: str, **more: Any) -> StartRequest:
        request = super().request(executor, script, **more)
        return replace(request, command=["python", str(SHELL), script])


class Many(Ahead):
    """More tasks than there are devices."""

    def waiting(self) -> int:
        return 100


class RaySetup(LocalSetup):
    """Two attempts at a time on a real Ray, without GPUs."""

    orphans_live = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._leave: Callable[[], None] | None = None
        if "RAY_LAB" not in os.environ:  # else this is the process that is killed
            lab = the_ray()
            self._leave = lab.enter()
            os.environ["RAY_LAB"] = lab.address
        scratch = folder / "on the node"
        scratch.mkdir(exist_ok=True)
        self.settings = RaySettings(os.environ["RAY_LAB"], gpus=0, lease=5.0, scratch=str(scratch))

    def close(self) -> None:
        if self._leave is not None:
            self._leave()
            del os.environ["RAY_LAB"]

    @staticmethod
    def why_not() -> str | None:
        return why_no_ray()

    def found(self) -> FoundDevices:
        return FoundDevices(ray_slots(2, self.settings), "two attempts", None)

    def executor(self) -> Executor:
        found = (self.found().all, "two attempts")
        return RayExecutor(self.sweep, self.paths, self.settings, found, os.environ)

    def visible(self, devices: Sequence[Device]) -> str:
        return ""


class StepsSetup(SlurmSetup):
    """Two attempts at a time, as steps of one job on two nodes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if "SLURM_JOB_ID" not in os.environ:
            os.environ["SLURM_JOB_ID"] = a_large_job()

    def executor(self) -> Executor:
        steps = Steps(int(os.environ["SLURM_JOB_ID"]), dict(os.environ))
        found, settings = (self.found().all, "two steps"), replace(self.settings, cpus=1)
        return SlurmExecutor(self.sweep, self.paths, settings, found, os.environ, slurm=steps)


@functools.lru_cache(maxsize=1)
def a_large_job() -> str:
    """Return the number of a job on two nodes that does nothing itself, started at first use."""
    options = ("--parsable", "--nodes=2", "--ntasks-per-node=4", "--time=60", "--output=/dev/null")
    number = the_lab().call("sbatch", *options, "--wrap=sleep 3600").strip()
    wait_until(lambda: the_lab().jobs().get(number) == "RUNNING")
    return number


SETUPS: dict[str, type[LocalSetup]] = {
    "local, CPU slots": LocalSetup,
    "local, GPUs": LocalGpuWorld,
    "local, forked": ForkedSetup,
    "Slurm": SlurmSetup,
    "Ray": RaySetup,
    "Slurm, steps of a job": StepsSetup,
}


class Driver:
    """An executor whose events are asked for as the dispatcher does."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.seen: list[ExecutorEvent] = []
        # Those that `until` has returned, or passed over.
        self.past = 0
        self._closed = False

    def close(self) -> None:
        """Close the executor, once."""
        if not self._closed:
            self._closed = True
            self.executor.close()

    def turn(self, handle: Callable[[ExecutorEvent], None] | None = None) -> None:
        """Wait for the executor to have something to say, and hear all of it."""
        deadline = self.executor.deadline()
        pause = 0.05 if deadline is None else min(0.05, max(0.0, deadline - time.monotonic()))
        readable(self.executor, pause)
        for event in self.executor.events():
            self.seen.append(event)
            if handle is not None:
                handle(event)

    def until(
        self,
        kind: type[T],
        of: str | None = None,
        handle: Callable[[ExecutorEvent], None] | None = None,
    ) -> T:
        """Return the next event of that kind (``of`` a task or device), after the last one returned."""
        patience, at = time.monotonic() + PATIENCE, self.past
        while time.monotonic() < patience:
            for event in self.seen[at:]:
                at += 1
                if isinstance(event, kind) and of in (None, *about(event)):
                    self.past = at
                    return event
            self.turn(handle)
        raise AssertionError(f"never told {kind.__name__} of {of}: {self.seen}")


def about(event: object) -> list[str]:
    """Return the task and the device that an event tells of."""
    return [getattr(event, name) for name in ("task", "device") if hasattr(event, name)]


def open_gate(gate: Path, exit_code: int) -> None:
    """Let a script go on that waits for its exit code at a FIFO."""
    opened = threading.Thread(target=lambda: gate.write_text(f"{exit_code}\n"), daemon=True)
    opened.start()
    opened.join(PATIENCE)
    assert not opened.is_alive(), f"nobody came to {gate}"


if __name__ == "__main__":  # start an attempt, say so, and wait to be killed
    name, where, script = sys.argv[1:]
    setup = SETUPS[name](Path(where))
    driver = Driver(setup.executor())
    driver.executor.start(setup.request(driver.executor, script))
    driver.until(Started)
    print("started", flush=True)
    signal.pause()
