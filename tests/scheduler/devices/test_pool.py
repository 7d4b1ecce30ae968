"""The devices of a dispatcher while attempts of ours share one."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.config.sweep import DeviceSettings, ShareSettings
from scheduler.core.events import DeviceBusy, DeviceIdle
from scheduler.core.journal_events import MoreTaken, OthersCame
from scheduler.devices.finding import FoundDevices, NoDevices, find_devices, room
from scheduler.devices.idle import IdleCode, IdleReason
from scheduler.devices.lease import LeaseHeld
from scheduler.devices.model import Device, Process, Reading
from scheduler.devices.nvml import Nvml
from scheduler.devices.pool import MEMORY_BACK, DeviceHeld, DevicePool, PoolEvent

GIB = 2**30
GPU = Device("GPU-1", "a GPU", "0", "gpu", total_memory=80 * GIB)
EMPTY = Reading("GPU-1", 0, 80 * GIB, 80 * GIB, 0, processes=())
SHARE = ShareSettings(memory=20 * GIB)


class OneGpu:
    """What of NVML the pool asks for before it looks."""

    def devices(self) -> list[Device]:
        return [GPU]

    def close(self) -> None:
        pass


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DevicePool:
    """One GPU for up to three attempts; the test does the looking."""
    monkeypatch.setenv("SCHEDULER_LEASES", str(tmp_path / "leases"))
    monkeypatch.setattr(Nvml, "open", OneGpu)
    settings = DeviceSettings(idle_for=0, cores="off", share=SHARE)
    return DevicePool(find_devices(settings, visible=None), settings, lambda _: None)


@pytest.fixture
def worker() -> Iterator[int]:
    """A process below a supervisor that is this process."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def told(pool: DevicePool, reading: Reading) -> list[PoolEvent]:
    kinds = (DeviceIdle, DeviceBusy, MoreTaken, OthersCame)
    return [event for event in pool.judge([reading]) if isinstance(event, kinds)]


def held(*processes: Process, hidden: int = 0) -> Reading:
    used = hidden + sum(process.used_memory or 0 for process in processes)
    return replace(EMPTY, utilization=97, free_memory=80 * GIB - used, processes=processes)


def test_there_is_room_beside_attempts_that_share(pool: DevicePool, worker: int) -> None:
    pool.occupy(GPU.id, "a", os.getpid(), share=20 * GIB)
    reading = held(Process(worker, 9 * GIB))
    assert told(pool, reading) == [DeviceIdle(GPU.id, 60 * GIB, 80 * GIB)]


def test_there_is_none_beside_one_that_is_alone(pool: DevicePool, worker: int) -> None:
    pool.occupy(GPU.id, "a", os.getpid())
    assert told(pool, held(Process(worker, 9 * GIB))) == []


def test_there_is_none_where_somebody_else_is(pool: DevicePool, worker: int) -> None:
    pool.occupy(GPU.id, "a", os.getpid(), share=20 * GIB)
    reading = held(Process(worker, 9 * GIB), Process(os.getppid(), GIB))
    assert DeviceBusy(GPU.id) in told(pool, reading)
    assert told(pool, held(Process(worker, 9 * GIB)))[-1] == DeviceIdle(GPU.id, 60 * GIB, 80 * GIB)


def test_memory_of_nobody_in_sight_is_others_where_it_stays(
    pool: DevicePool, worker: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt's end may be seen in NVML's list of processes before its memory is free again."""
    pool.occupy(GPU.id, "a", os.getpid(), share=20 * GIB)
    start = time.monotonic()
    there, free = held(Process(worker, 9 * GIB), hidden=5 * GIB), held(Process(worker, 9 * GIB))

    def told_after(seconds: float, reading: Reading) -> list[type]:
        monkeypatch.setattr(time, "monotonic", lambda: start + seconds)
        return [type(event) for event in told(pool, reading)]

    assert told_after(0, there) == [DeviceIdle]
    assert told_after(MEMORY_BACK - 0.1, there) == [DeviceIdle]
    assert told_after(MEMORY_BACK, free) == [DeviceIdle]
    assert told_after(MEMORY_BACK + 1, there) == [DeviceIdle]
    assert told_after(2 * MEMORY_BACK + 1, there) == [OthersCame, DeviceBusy]


def test_the_most_that_an_attempt_and_its_children_held_is_known(
    pool: DevicePool, worker: int
) -> None:
    pool.occupy(GPU.id, "a", os.getpid(), share=20 * GIB)
    pool.occupy(GPU.id, "b", os.getppid(), share=20 * GIB)
    both = held(Process(worker, 9 * GIB), Process(os.getpid(), 14 * GIB))
    assert MoreTaken("a", GPU.id, 23 * GIB, 20 * GIB) in told(pool, both)
    told(pool, held(Process(worker, 1 * GIB)))
    assert pool.most_taken(GPU.id, "a") == 23 * GIB
    assert pool.most_taken(GPU.id, "b") is None


def test_parts_are_leased_and_the_whole_when_they_are_given_back(pool: DevicePool) -> None:
    parts = [lease for _ in range(3) for lease in pool.lease([GPU.id], part=True)]
    assert [part.part for part in parts] == [0, 1, 2]
    for part in (True, False):
        with pytest.raises(LeaseHeld):
            pool.lease([GPU.id], part=part)
    for lease in parts:
        lease.release()
    assert pool.lease([GPU.id])


def test_a_part_that_was_refused_is_waited_for(pool: DevicePool, worker: int) -> None:
    pool.occupy(GPU.id, "a", os.getpid(), share=20 * GIB)
    parts = [lease for _ in range(3) for lease in pool.lease([GPU.id], part=True)]
    list(pool.refused(DeviceHeld(GPU.id, "held"), part=True))
    reading = held(Process(worker, 9 * GIB))
    told(pool, reading)
    assert told(pool, reading) == [DeviceBusy(GPU.id)]
    parts[0].release()
    assert told(pool, reading) == [DeviceIdle(GPU.id, 60 * GIB, 80 * GIB)]


def test_a_server_of_ours_is_in_nobody_s_way(pool: DevicePool, worker: int) -> None:
    reading = replace(held(Process(worker, GIB)), utilization=0)
    assert told(pool, reading) == [DeviceBusy(GPU.id)]
    pool.servers = [worker]
    told(pool, reading)
    assert told(pool, reading) == [DeviceIdle(GPU.id, 79 * GIB, 80 * GIB)]


@pytest.mark.parametrize(
    ("share", "parts"),
    [
        (None, 1),
        (SHARE, 3),
        (replace(SHARE, at_most=2), 2),
        (replace(SHARE, memory=80 * GIB), 1),
        (replace(SHARE, memory=GIB), 48),
    ],
)
def test_into_how_many_parts_a_device_is_divided(share: ShareSettings | None, parts: int) -> None:
    assert room(GPU, DeviceSettings(share=share)) == parts
    assert room(replace(GPU, kind="cpu"), DeviceSettings(share=share)) == 1


def test_more_than_any_device_has_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nvml, "open", OneGpu)
    settings = DeviceSettings(share=replace(SHARE, memory=79 * GIB))
    with pytest.raises(NoDevices) as error:
        find_devices(settings, visible=None)
    assert str(error.value) == (
        "devices.share.memory: 79.0 GiB is more than any device here can give an attempt "
        "(76.0 GiB, 95 % of the largest)"
    )


def test_found_devices_are_found_with_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nvml, "open", OneGpu)
    found: FoundDevices = find_devices(DeviceSettings(share=SHARE), visible=None)
    [device] = found.all
    assert len(device.parts) == 3
    assert set(device.cpus) == {cpu for part in device.parts for cpu in part}


def test_a_device_that_is_left_is_not_taken_by_our_own_supervisor(
    pool: DevicePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has just ended its attempt holds its part until the loop has told it to let go."""
    taken: list[str] = []
    left = IdleReason(IdleCode.LEFT, "another waits")
    monkeypatch.setattr(pool.fairness, "why_left", lambda *_: left)
    monkeypatch.setattr(pool.fairness, "taken", taken.append)
    (part,) = pool.lease([GPU.id], part=True)
    assert [told(pool, EMPTY) for _ in range(2)] == [[DeviceBusy(GPU.id)]] * 2
    assert taken == []
    part.release()
