"""The device: which one it is, and what it tells of a timed stretch: use, clock, disturbances.

The latter through NVML. A stretch during which another process was on the GPU, or the GPU slowed
itself down for heat or a failing supply, does not count and is measured again. A GPU at its power
limit does count: that is how a large GPU normally runs. NVML's counters (time lost to heat, use by
each process) cover the whole stretch; the rest is read at its end. Its energy counter is too slow
for one call: see energy.py.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from worker.metrics.host import Disturbance
from worker.types import Opaque


def choose_device() -> str:
    """Return the first visible GPU, or the CPU with as many threads as the environment grants."""
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > 0:
        torch.set_num_threads(int(threads))
    return "cpu"


@dataclass(frozen=True)
class Reading:
    """What happened on the device; None where it is not known."""

    utilization: float | None = None
    """Percent of the last sampling period in which a kernel ran."""
    clock: float | None = None
    """MHz of the multiprocessors at the end."""
    disturbance: Disturbance | None = None
    """Why the stretch does not count, and whose fault it is."""


class Meter:
    """A meter for one GPU; on a CPU, or where NVML does not answer, it knows nothing.

    Make it before anything uses the GPU, and start it only when this process does: in a container
    NVML may know this process by another id, which is then the one that came in between.

    Args:
        device: a torch device.
    """

    def __init__(self, device: str) -> None:
        self._on_gpu = device.startswith("cuda")
        self._handle = _open(device) if self._on_gpu else None
        self._there_before = self._processes()
        self._ours: frozenset[int] = frozenset()
        self._started_at = 0
        self._hot_before: int | None = None

    def start(self) -> None:
        """Begin a stretch."""
        if not self._ours:
            self._ours = self._own()
        self._started_at = time.time_ns() // 1000
        self._hot_before = self._hot()

    def stop(self) -> Reading:
        """End the stretch."""
        rates = self._ask("nvmlDeviceGetUtilizationRates")
        return Reading(
            utilization=None if rates is None else float(rates.gpu),
            clock=self._clock(),
            disturbance=self._foreign() or self._slowed(),
        )

    def joules(self) -> float | None:
        """Return the energy that the device has used since its driver was loaded, or None."""
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1000

    def why_no_energy(self) -> str | None:
        """Return why ``joules`` answers None, or None where it answers."""
        if not self._on_gpu:
            # the counter of a CPU's package is root's to read, and counts whatever else runs on it
            return "a CPU tells no program the energy that it used"
        if self._handle is None:
            return "NVML does not answer"
        if self.joules() is not None:
            return None
        if self._ask("nvmlDeviceIsMigDeviceHandle"):
            return "a MIG instance has no energy counter of its own"
        return "the driver has no energy counter for this GPU"

    def _ask(self, function: str, *arguments: int) -> Opaque:
        """Return NVML's answer, or None where it has none."""
        if self._handle is None:
            return None
        import pynvml

        try:
            return getattr(pynvml, function)(self._handle, *arguments)
        except (pynvml.NVMLError, AttributeError):
            return None

    def _clock(self) -> float | None:
        megahertz = self._ask("nvmlDeviceGetClockInfo", 1)  # NVML_CLOCK_SM
        return None if megahertz is None else float(megahertz)

    def _hot(self) -> int | None:
        """Return for how many nanoseconds altogether heat has slowed the GPU down."""
        lost = self._ask("nvmlDeviceGetViolationStatus", 1)  # NVML_PERF_POLICY_THERMAL
        return None if lost is None else int(lost.violationTime)

    def _processes(self) -> frozenset[int]:
        running = self._ask("nvmlDeviceGetComputeRunningProcesses") or ()
        return frozenset(process.pid for process in running)

    def _own(self) -> frozenset[int]:
        listed, own = self._processes(), frozenset({os.getpid()})
        return own if own <= listed else own | (listed - self._there_before)

    def _foreign(self) -> Disturbance | None:
        foreign = self._processes() - self._ours
        if self._ours == {os.getpid()}:
            # it may have come and gone; only where NVML's ids are those that are seen from here
            used = self._ask("nvmlDeviceGetProcessUtilization", self._started_at) or ()
            seen = {sample.pid for sample in used if sample.timeStamp and sample.smUtil}
            foreign |= seen - self._ours
        if not foreign:
            return None
        return Disturbance("another process used the GPU", f"pid {min(foreign)}")

    def _slowed(self) -> Disturbance | None:
        hot = self._hot()
        if hot is not None and self._hot_before is not None and hot > self._hot_before:
            return Disturbance("the GPU was too hot")
        reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        if not reasons:
            return None
        import pynvml

        slowed = (
            ("too hot", pynvml.nvmlClocksThrottleReasonHwThermalSlowdown),
            ("too hot", pynvml.nvmlClocksThrottleReasonSwThermalSlowdown),
            ("braked by its power supply", pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown),
        )
        kinds = (Disturbance(f"the GPU was {why}") for why, bit in slowed if reasons & bit)
        return next(kinds, None)


def _open(device: str) -> Opaque:
    """Return NVML's handle of a torch device, or None where there is none."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(_uuid(device))
    except pynvml.NVMLError:
        return None


def _uuid(device: str) -> str:
    """Return the device's UUID: NVML does not know of CUDA_VISIBLE_DEVICES and counts otherwise."""
    number = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if number < len(visible) and visible[number].startswith(("GPU-", "MIG-")):
        return visible[number]
    import torch

    uuid = str(torch.cuda.get_device_properties(device).uuid)
    return f"GPU-{uuid.removeprefix('GPU-')}"
