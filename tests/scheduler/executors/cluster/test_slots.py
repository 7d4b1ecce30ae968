"""Slots of a cluster that takes no job for a while: it is asked again until it does."""

from __future__ import annotations

import errno

import pytest

from scheduler.core.events import DeviceBusy, DeviceIdle, Queued
from scheduler.devices.model import Device
from scheduler.executors import base
from scheduler.executors.base import ExecutorEvent, StartRequest
from scheduler.executors.cluster import slots
from scheduler.executors.cluster.slots import SlotExecutor
from scheduler.storage.attempts_file import AttemptRecord


class Cluster(SlotExecutor):
    """Two slots; what becomes of a start is what the test says next."""

    engine = "The cluster"

    def __init__(self) -> None:
        names = ("c:0", "c:1")
        super().__init__(([Device(name, n, "slot", "slot") for n, name in enumerate(names)], ""))
        self.now = 0.0

    def adopt(self, task: str, devices: tuple[str, ...], known: AttemptRecord | None) -> bool:
        raise NotImplementedError

    def start(self, request: StartRequest) -> None:
        raise NotImplementedError

    def begin(self, task: str, slot: str, then: str) -> None:
        self._devices_of[task] = (slot,)
        if then == "is not taken":
            self._post(lambda: self._not_taken(task, "the queue is full"))
        elif then == "is queued":
            self._happened(Queued(task))
        else:
            self._happened(base.Failed(task, OSError(errno.ENOSPC, "no space left")))

    def stop(self, task: str) -> None: ...

    def last_sign_of_life(self, task: str) -> float:
        return 0.0

    def close(self) -> None: ...

    def told(self) -> list[ExecutorEvent]:
        """Return what is told until nothing more is to be, by a clock that leaps to the deadline."""
        if (due := self.deadline()) is not None:
            self.now = due
        return list(self.events())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(slots.time, "monotonic", lambda: cluster.now)
    cluster.offer_devices()
    assert cluster.told() == [DeviceIdle("c:0"), DeviceIdle("c:1")]
    return cluster


def test_one_slot_asks_again_until_a_job_is_taken(cluster: Cluster) -> None:
    for _ in range(3):
        cluster.begin("t", "c:0", "is not taken")
        assert {DeviceBusy("c:0"), DeviceBusy("c:1")} <= set(cluster.told()[-2:])
        assert cluster.told() == [DeviceIdle("c:0")]
    cluster.begin("t", "c:0", "is queued")
    assert cluster.told() == [Queued("t"), DeviceIdle("c:1")]
    assert cluster.deadline() is None


def test_it_is_asked_again_though_the_one_that_was_to_ask_never_got_there(cluster: Cluster) -> None:
    cluster.begin("t", "c:0", "is not taken")
    cluster.told()
    assert cluster.told() == [DeviceIdle("c:0")]
    cluster.begin("t", "c:0", "fails before")
    (failed,) = cluster.told()
    assert isinstance(failed, base.Failed)
    assert cluster.told() == [DeviceIdle("c:0")]
