"""``python -m scheduler devices``: every device, idle or not, and the reason."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Collection, Sequence

from rich.table import Table

from scheduler.cli.common import UserError
from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.sweep import DeviceSettings, Sweep
from scheduler.config.units import format_size
from scheduler.devices.finding import FoundDevices, NoDevices, find_devices, room
from scheduler.devices.idle import IdleTracker
from scheduler.devices.lease import Lease, LeaseFolderError, LeaseHeld, default_folder
from scheduler.devices.model import Device, Reading, most_at_once
from scheduler.devices.nvml import Nvml
from scheduler.devices.pool import idle_rule
from scheduler.devices.selection import UnknownDevice
from scheduler.views.console import WideConsole


def run(arguments: argparse.Namespace) -> int:
    """Look at every device for as long as ``idle_for`` asks, and print what is seen."""
    settings = DeviceSettings()
    if arguments.sweep is not None:
        try:
            settings = read_sweep(arguments.sweep).devices
        except SweepError as error:
            raise UserError(str(error)) from None
    devices, where, nvml, *_ = open_devices(settings)
    if nvml is None:
        print(where.replace("; using ", "; a sweep would use "))
        for device in devices:
            print(f"  {device.index}: cores {device.cores or 'all'}")
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("device", "name", "id", "memory free", "cores", "idle", "reason"):
        table.add_column(column, no_wrap=column != "reason", overflow="fold")
    for device, reading, idle, reason in judge_all(nvml, devices, settings):
        memory = f"{_size(reading.free_memory)} of {_size(reading.total_memory)}"
        most, words = room(device, settings), reason
        if idle and most > 1:
            words = f"{reason}; room for {most} that share it"
        table.add_row(
            device.index,
            device.name,
            device.id,
            memory,
            device.cores or "all",
            "yes" if idle else "no",
            words,
        )
    WideConsole().print(table)
    return 0


def open_devices(settings: DeviceSettings) -> FoundDevices:
    """Find the devices that a sweep with these settings may use.

    Raises:
        UserError: they name one that is not here, or there is none to use.
    """
    try:
        return find_devices(settings, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except (UnknownDevice, NoDevices) as error:
        raise UserError(str(error)) from None


def check_enough(sweep: Sweep, waiting: Collection[str], devices: Sequence[Device]) -> None:
    """Make sure that no task waits for more devices at once than there are.

    Raises:
        UserError: some would wait for ever.
    """
    if sweep.devices.per_task == 1 or sweep.on_cluster:
        return
    most = most_at_once(devices)
    counts = {t.id: sweep.devices_of(t.id) for t in sweep.tasks if t.id in waiting}
    too_many = [task for task, count in counts.items() if count > most]
    if not too_many:
        return
    needed = max(counts.values())
    lone = "; no task can have several MIG instances" if most < len(devices) else ""
    others = "" if len(too_many) == len(sweep.tasks) else ", or --only for the other tasks"
    raise UserError(
        f"devices.per_task: {too_many[0]} has {counts[too_many[0]]} devices at once, and {most} is the most "
        f"here{lone}; {len(too_many)} task(s) would wait for ever: lower it, or go where there are "
        f"{needed}{others}"
    )


def judge_all(
    nvml: Nvml, devices: list[Device], settings: DeviceSettings
) -> list[tuple[Device, Reading, bool, str]]:
    """Return for each device its last reading, whether it is idle, and why."""
    rule = idle_rule(settings)
    trackers = {device.id: IdleTracker(rule) for device in devices}
    over = time.monotonic() + rule.idle_for
    while True:
        now = time.monotonic()
        readings = {device.id: nvml.read(device.id) for device in devices}
        verdicts = {
            device.id: trackers[device.id].judge(
                readings[device.id], now, frozenset(), after_own=False
            )
            for device in devices
        }
        if now >= over or not any(verdict.until for verdict in verdicts.values()):
            break
        time.sleep(min(1.0, max(0.0, over - now)))
    rows = []
    for device in devices:
        idle, reason = verdicts[device.id].idle, verdicts[device.id].reason.text
        if idle and (holder := _lease_holder(device.id)) is not None:
            idle, reason = False, holder
        rows.append((device, readings[device.id], idle, reason))
    return rows


def _lease_holder(device: str) -> str | None:
    try:
        Lease.acquire(default_folder(), device).release()
    except LeaseHeld as held:
        return str(held)
    except LeaseFolderError as error:
        raise UserError(str(error)) from None
    return None


def _size(number: int | None) -> str:
    return "?" if number is None else format_size(number)
