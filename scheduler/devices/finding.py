"""Which devices a sweep runs on: GPUs, or CPU slots where there are none and the sweep may go without."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import NamedTuple, TypeVar

from scheduler.config.sweep import MOST_SHARERS, DeviceSettings
from scheduler.config.units import format_size
from scheduler.core.tables.devices import MOST_FREE
from scheduler.devices.cores.machine import read_machine
from scheduler.devices.cores.shares import TooFewCores, share_out
from scheduler.devices.model import Device
from scheduler.devices.nvml import NoDriverLibrary, Nvml, NvmlUnavailable, within
from scheduler.devices.selection import usable

_T = TypeVar("_T")
PATIENCE = (
    60.0  # seconds; without persistence mode, a driver takes some for each GPU at its first use
)
_CPU_SLOTS_HELP = "to run on the CPU all the same, give devices.cpu_slots"


class NoDevices(Exception):  # noqa: N818  # a state of the machine, or of the environment
    """No device may be used here; the message says why, and what to do."""


class FoundDevices(NamedTuple):
    """GPUs and MIG instances, or CPU slots where there are none and the sweep may go without."""

    all: list[Device]
    # How they were found, for people.
    where: str
    nvml: Nvml | None
    # With how many threads an attempt is told to compute; None: it is not told.
    threads: int | None = None
    # The CPUs of attempts on this machine's other devices.
    cpus_of_others: tuple[int, ...] = ()

    @property
    def on_gpus(self) -> bool:
        """Whether attempts will run on GPUs, which a completion made on a CPU does not answer for."""
        return self.nvml is not None


def cpu_slots(number: int) -> list[Device]:
    """Return ``number`` CPU slots, the devices of a machine without NVML: ``cpu:0`` upwards."""
    return [
        Device(id=f"cpu:{slot}", name=f"CPU slot {slot}", index=f"cpu:{slot}", kind="cpu")
        for slot in range(number)
    ]


def room(device: Device, settings: DeviceSettings) -> int:
    """Return into how many parts a device is divided: for so many attempts at once."""
    share = settings.share
    if share is None or device.is_slot:
        return 1
    most = share.at_most or MOST_SHARERS
    if device.total_memory is None:
        return most
    return max(1, min(most, int(device.total_memory * MOST_FREE) // share.memory))


def find_devices(
    settings: DeviceSettings, visible: str | None, patience: float = PATIENCE
) -> FoundDevices:
    """Find the devices that a sweep may use.

    Args:
        settings: the sweep's ``devices`` section.
        visible: the CUDA_VISIBLE_DEVICES that the dispatcher inherited; None: not set.
        patience: seconds in which the driver must answer.

    Raises:
        UnknownDevice: ``only`` or ``exclude`` names a device that is not here.
        NoDevices: there is no GPU to use, and CPU slots are not what was asked for; or there are fewer
            cores than the sweep asks for.
    """
    try:
        nvml, here = within(patience, _open_gpus)
    except NoDriverLibrary as error:
        return _instead_of_gpus(settings, str(error), driver=False)
    except NvmlUnavailable as error:
        return _instead_of_gpus(settings, f"{error} (nvidia-smi should work before a sweep does)")
    devices = usable(here, visible, settings.only or None, settings.exclude)
    if not devices:
        nvml.close()
        allowed = "devices.only, devices.exclude and CUDA_VISIBLE_DEVICES"
        why = f"no device is left to use: {allowed} ({visible!r}) allow none of this machine's"
        if settings.only:
            raise NoDevices(why)
        return _instead_of_gpus(settings, why)
    _check_share(devices, settings)
    where = f"{len(devices)} device(s) through NVML"
    return _with_cores(FoundDevices(devices, where, nvml), here, settings)


def _check_share(devices: list[Device], settings: DeviceSettings) -> None:
    """Make sure that a device can hold what an attempt asks for.

    Raises:
        NoDevices: none can.
    """
    share = settings.share
    known = [device.total_memory for device in devices if device.total_memory is not None]
    if share is None or len(known) < len(devices) or max(known) * MOST_FREE >= share.memory:
        return
    most = f"{100 * MOST_FREE:.0f} % of the largest"
    raise NoDevices(
        f"devices.share.memory: {format_size(share.memory)} is more than any device here can give an "
        f"attempt ({format_size(max(known) * MOST_FREE)}, {most})"
    )


def _open_gpus() -> tuple[Nvml, list[Device]]:
    nvml = Nvml.open()
    return nvml, nvml.devices()


def _with_cores(found: FoundDevices, here: list[Device], settings: DeviceSettings) -> FoundDevices:
    """Return the devices with the cores of their attempts.

    Raises:
        NoDevices: there are fewer cores than the sweep asks for.
    """
    machine = read_machine(os.sched_getaffinity(0))
    try:
        parts = {device.id: room(device, settings) for device in found.all}
        shares = share_out(machine, here, found.all, settings.cores, parts)
    except TooFewCores as why:
        raise NoDevices(str(why)) from None
    devices = [
        replace(
            device,
            cpus=shares.cpus.get(device.id, ()),
            parts=shares.parts.get(device.id, ()),
        )
        for device in found.all
    ]
    where = f"{found.where}, {shares.summary}" if shares.summary else found.where
    return FoundDevices(devices, where, found.nvml, shares.threads, shares.others)


def _instead_of_gpus(settings: DeviceSettings, why: str, *, driver: bool = True) -> FoundDevices:
    """Return CPU slots if the sweep may run on them: nothing that asks for a GPU does so unasked.

    Raises:
        NoDevices: it may not.
    """
    if settings.only:
        names = ", ".join(map(str, settings.only))
        raise NoDevices(f"devices.only: names {names}, but no GPU is known: {why}")
    if settings.cpu_slots is None and settings.demands:
        asks = ", ".join(f"devices.{name}" for name in settings.demands)
        raise NoDevices(f"{why}, and the sweep asks for GPUs ({asks}); {_CPU_SLOTS_HELP}")
    if settings.cpu_slots is None and driver:
        raise NoDevices(f"{why}; {_CPU_SLOTS_HELP}")
    devices = cpu_slots(settings.cpu_slots or 1)
    where = f"{why}; using {len(devices)} CPU slot(s)"
    return _with_cores(FoundDevices(devices, where, None), devices, settings)
