"""A look at a device that fails for a reason of ours: the watch goes on, and so does what runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from queue import Queue

import pytest

from scheduler.config.sweep import DeviceSettings
from scheduler.core.events import DeviceBusy, DeviceIdle
from scheduler.core.journal_events import DeviceState
from scheduler.devices.finding import find_devices
from scheduler.devices.lease import Lease, LeaseHeld, default_folder
from scheduler.devices.model import Device, Reading
from scheduler.devices.nvml import Nvml
from scheduler.devices.pool import DevicePool
from scheduler.devices.watch import DeviceWatch

GPU = Device(id="GPU-1", name="a GPU", index=0, kind="gpu")
READING = Reading("GPU-1", utilization=0, free_memory=2**34, total_memory=2**34, processes=())
PATIENCE = 60.0


class Stumbling:
    """NVML with a fault in the way it is read, every second time."""

    def __init__(self) -> None:
        self.looks = 0

    def devices(self, *_selection: object) -> list[Device]:
        return [GPU]

    def read(self, device: str) -> Reading:
        self.looks += 1
        if self.looks % 2:
            raise KeyError(device)
        return READING


def test_the_watch_says_that_a_look_failed_and_looks_again() -> None:
    posted: Queue[list[Reading]] = Queue()
    watch = DeviceWatch(Stumbling(), [GPU.id], posted.put)  # type: ignore[arg-type]
    watch.look_eagerly(GPU.id)
    watch.start()
    looks = [posted.get(timeout=PATIENCE) for _ in range(3)]
    watch.finish()
    watch.join(PATIENCE)
    failed = Reading(GPU.id, unread="cannot be looked at (KeyError: 'GPU-1')")
    assert looks == [[failed], [READING], [failed]]


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DevicePool:
    """Devices of which only what the test judges is known: the watch is not started."""
    monkeypatch.setenv("SCHEDULER_LEASES", str(tmp_path / "leases"))
    monkeypatch.setattr(Nvml, "open", Stumbling)
    settings = DeviceSettings(idle_for=0)
    return DevicePool(find_devices(settings, visible=None), settings, lambda _: None)


def test_a_device_that_cannot_be_looked_at_is_not_idle_and_says_why(devices: DevicePool) -> None:
    failed = Reading(GPU.id, unread="cannot be looked at (KeyError: 'x')")
    idle = [DeviceState(GPU.id, True, "idle"), DeviceIdle(GPU.id, 2**34, 2**34)]
    busy = [
        DeviceState(GPU.id, False, "cannot be looked at (KeyError: 'x')"),
        DeviceBusy(GPU.id),
    ]
    assert list(devices.judge([READING, failed, READING])) == [*idle, *busy, *idle]


def test_what_runs_on_a_device_that_cannot_be_looked_at_goes_on(devices: DevicePool) -> None:
    devices.occupy(GPU.id, "task", supervisor=1)
    events = devices.judge([Reading(GPU.id, unread="cannot be looked at (KeyError: 'x')")])
    assert [type(event) for event in events] == [DeviceState]


def test_a_busy_device_is_journalled_once_whatever_its_figures(devices: DevicePool) -> None:
    busy = [replace(READING, utilization=percent) for percent in (87, 91, 40)]
    events = [event for reading in busy for event in devices.judge([reading])]
    assert [event for event in events if isinstance(event, DeviceState)] == [
        DeviceState(GPU.id, idle=False, reason="busy: utilisation 87 % (limit 5 %)")
    ]


def test_what_was_free_during_an_attempt_is_remembered_until_the_next(devices: DevicePool) -> None:
    assert devices.least_free(GPU.id) is None
    devices.occupy(GPU.id, "task", supervisor=1)
    for free in (2**34, 2**20, 2**30):
        list(devices.judge([replace(READING, free_memory=free)]))
    list(devices.judge([replace(READING, free_memory=None)]))
    assert devices.least_free(GPU.id) == 2**20
    devices.occupy(GPU.id, "task", supervisor=2)
    assert devices.least_free(GPU.id) is None


def held(device: str) -> bool:
    try:
        Lease.acquire(default_folder(), device).release()
    except LeaseHeld:
        return True
    return False


@pytest.mark.parametrize("what", ["its file", "the folder", "another folder", "another file"])
def test_a_lease_whose_file_is_removed_is_taken_anew(devices: DevicePool, what: str) -> None:
    [lease] = devices.lease([GPU.id])  # as our supervisor holds it
    devices.occupy(GPU.id, "task", supervisor=1)
    for _ in range(2):
        if what == "its file":
            (default_folder() / GPU.id).unlink()
        elif what == "another file":
            (default_folder() / "new").touch()
            (default_folder() / "new").rename(default_folder() / GPU.id)
        else:
            shutil.rmtree(default_folder())
            if what == "another folder":
                default_folder().mkdir()
        assert not held(GPU.id)
        list(devices.judge([READING]))
        assert held(GPU.id)
        list(devices.judge([READING]))
        assert held(GPU.id)
    lease.release()
    assert held(GPU.id)
    devices.give_back(GPU.id)
    assert not held(GPU.id)
