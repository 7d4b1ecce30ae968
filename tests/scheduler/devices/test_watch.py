"""A look at a device that fails for a reason of ours: the watch goes on, and so does what runs."""

from __future__ import annotations

from queue import Queue

import pytest

from scheduler.config.sweep import DeviceSettings
from scheduler.core.events import DeviceBusy, DeviceGone, DeviceIdle, Event
from scheduler.devices import pool
from scheduler.devices.model import Device, Reading
from scheduler.devices.nvml import Nvml
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
def events() -> list[Event]:
    return []


@pytest.fixture
def emitted() -> list[dict[str, object]]:
    return []


@pytest.fixture
def devices(
    monkeypatch: pytest.MonkeyPatch, events: list[Event], emitted: list[dict[str, object]]
) -> pool.DevicePool:
    monkeypatch.setattr(Nvml, "open", Stumbling)
    found = pool.DevicePool(DeviceSettings(idle_for=0), visible=None)
    found.connect(
        post=lambda function: function(),
        handle=events.append,
        emit=lambda _kind, **fields: emitted.append(fields),
        others_came=lambda *_: None,
    )
    # only what the test posts is judged: the watch is not started
    found._watch = DeviceWatch(Stumbling(), [], lambda _: None)  # type: ignore[arg-type]
    return found


def test_a_device_that_cannot_be_looked_at_is_not_idle_and_says_why(
    devices: pool.DevicePool, events: list[Event], emitted: list[dict[str, object]]
) -> None:
    failed = Reading(GPU.id, unread="cannot be looked at (KeyError: 'x')")
    devices._deliver([READING])
    devices._deliver([failed])
    devices._deliver([READING])
    assert [type(event) for event in events] == [DeviceIdle, DeviceBusy, DeviceIdle]
    assert [(fields["idle"], fields["reason"]) for fields in emitted] == [
        (True, "idle"),
        (False, "cannot be looked at (KeyError: 'x')"),
        (True, "idle"),
    ]


def test_what_runs_on_a_device_that_cannot_be_looked_at_goes_on(
    devices: pool.DevicePool, events: list[Event]
) -> None:
    devices.occupy(GPU.id, supervisor=1)
    devices._deliver([Reading(GPU.id, unread="cannot be looked at (KeyError: 'x')")])
    assert not any(isinstance(event, DeviceGone | DeviceBusy) for event in events)
