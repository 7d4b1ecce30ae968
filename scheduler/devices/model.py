"""What the rest of the scheduler knows of a device: plain values, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scheduler.config.units import format_cpus


@dataclass(frozen=True, slots=True)
class Device:
    """Something that attempts run on: one at a time, or several that share it."""

    id: str  # what CUDA_VISIBLE_DEVICES takes: "GPU-<uuid>", "MIG-<uuid>"; "cpu:0" for a CPU slot
    name: str  # "NVIDIA H200", "CPU slot 0"
    index: str  # as a user writes it: "0" in PCI bus order, "0:1" for a MIG instance, "cpu:0"
    kind: Literal["gpu", "mig", "cpu", "slot"]  # a slot: room for one job of a cluster's scheduler
    total_memory: int | None = None  # bytes; None where it is not known
    parent: str | None = None  # a MIG instance's GPU, "GPU-<uuid>"
    near: frozenset[int] = frozenset()  # CPUs close to it; empty: not known
    cpus: tuple[int, ...] = ()  # that its attempts are bound to, ascending; empty: to none
    parts: tuple[tuple[int, ...], ...] = ()  # the same of each part of it, where several share it

    @property
    def node(self) -> str | None:
        """What it shares with others close to it, on one NUMA node: their CPUs. None: not known."""
        return format_cpus(self.near) or None

    @property
    def is_slot(self) -> bool:
        """Whether it is as good as all others: part of a CPU, or room for a job somewhere."""
        return self.kind in ("cpu", "slot")

    @property
    def cores(self) -> str | None:
        """Its CPUs as the kernel writes a list of them: ``0-3,8``."""
        return format_cpus(self.cpus) or None

    def part_cpus(self, number: int) -> tuple[int, ...]:
        """Return the CPUs of a part; there may be parts beyond those that cores were dealt to."""
        return self.parts[number % len(self.parts)] if self.parts else self.cpus


def most_at_once(devices: Sequence[Device]) -> int:
    """Return how many of the devices one attempt can have: of several MIG instances CUDA uses only one."""
    return max(1, sum(device.kind != "mig" for device in devices))


def joined_cpus(shares: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the CPUs of an attempt on several devices, each with such a share; one without has them all."""
    if not all(shares):
        return ()
    return tuple(sorted({cpu for share in shares for cpu in share}))


@dataclass(frozen=True, slots=True)
class Process:
    """A process with a compute context on a device, as NVML lists it."""

    pid: int
    used_memory: int | None = None  # bytes of the device's memory; None where NVML does not tell
    name: str | None = None  # the command's short name, safe to print
    user: str | None = None
    exists: bool = True  # False: no such process can be seen here; see `idle.IdleTracker`


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a device. ``None`` means not known: NVML would not say."""

    device_id: str
    utilization: int | None = None  # percent of the last sampling period with a kernel running
    free_memory: int | None = None  # bytes, as are all memories
    total_memory: int | None = None
    reserved_memory: int | None = None  # what the driver keeps for itself, out of total_memory
    display_memory: int = 0  # held by processes that draw but do not compute
    processes: tuple[Process, ...] | None = None
    error: str | None = None  # one sentence; nothing else is known then
    lost: bool = False  # the error is that the device is gone, until a reset or for good
    unread: str | None = None  # looking failed in a way that says nothing of the device; one phrase

    @property
    def used_memory(self) -> int | None:
        """Bytes in somebody's use: the driver's reserve is left out where its size is known."""
        if self.total_memory is None or self.free_memory is None:
            return None
        return max(0, self.total_memory - self.free_memory - (self.reserved_memory or 0))


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a device does at this moment, for people to see. ``None``: NVML does not tell."""

    utilization: int | None = None  # percent
    used_memory: int | None = None  # bytes
    total_memory: int | None = None
    power: float | None = None  # watts
    temperature: int | None = None  # degrees Celsius
