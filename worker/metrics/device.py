"""What the device itself tells of a timed stretch: energy, use, and whether the time counts.

Through NVML. A stretch during which another process came to the GPU, or the GPU slowed itself down
for heat or a failing supply, does not count and is taken again. A GPU at its power limit does
count: that is how a large GPU normally runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from worker.untyped import Passed


@dataclass(frozen=True)
class Reading:
    """What happened on the device; None where it is not known."""

    joules: float | None = None
    utilization: float | None = None
    """Percent of the last sampling period in which a kernel ran."""
    spoiled: str | None = None
    """Why the stretch does not count."""


class Meter:
    """A meter for one GPU; on a CPU, or where NVML does not answer, it knows nothing.

    Args:
        device: a torch device.
    """

    def __init__(self, device: str) -> None:
        self._handle: Passed = None
        self._before: float | None = None
        if device.startswith("cuda"):
            self._open(device)
        # processes that are here from the start: this one, under whatever id a container gives it
        self._ours = self._processes()

    def start(self) -> None:
        """Begin a stretch."""
        self._before = self._joules()

    def stop(self) -> Reading:
        """End the stretch."""
        after = self._joules()
        known = after is not None and self._before is not None
        return Reading(
            joules=after - self._before if known else None,  # type: ignore[operator]
            utilization=self._utilization(),
            spoiled=self._spoiled(),
        )

    def _open(self, device: str) -> None:
        import pynvml
        import torch

        # by UUID: NVML does not know of CUDA_VISIBLE_DEVICES, so its numbers are other GPUs'
        uuid = str(torch.cuda.get_device_properties(device).uuid).removeprefix("GPU-")
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        except pynvml.NVMLError:
            self._handle = None

    def _ask(self, function: str) -> Passed:
        """Return NVML's answer, or None where it has none."""
        if self._handle is None:
            return None
        import pynvml

        try:
            return getattr(pynvml, function)(self._handle)
        except (pynvml.NVMLError, AttributeError):
            return None

    def _joules(self) -> float | None:
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1000

    def _utilization(self) -> float | None:
        rates = self._ask("nvmlDeviceGetUtilizationRates")
        return None if rates is None else float(rates.gpu)

    def _processes(self) -> frozenset[int]:
        running = self._ask("nvmlDeviceGetComputeRunningProcesses") or ()
        return frozenset(process.pid for process in running) | {os.getpid()}

    def _spoiled(self) -> str | None:
        foreign = self._processes() - self._ours
        if foreign:
            return f"another process used the GPU (pid {min(foreign)})"
        reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        if not reasons:
            return None
        import pynvml

        slowed = (
            ("too hot", pynvml.nvmlClocksThrottleReasonHwThermalSlowdown),
            ("too hot", pynvml.nvmlClocksThrottleReasonSwThermalSlowdown),
            ("braked by its power supply", pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown),
        )
        return next((f"the GPU was {why}" for why, bit in slowed if reasons & bit), None)
