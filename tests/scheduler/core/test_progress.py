"""The progress: what events make of it."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.core.progress import SweepProgress, TaskView

DEVICE = {"id": "GPU-a", "name": "a GPU", "index": "0", "kind": "gpu"}


def progress(*events: dict[str, Any]) -> SweepProgress:
    seen = SweepProgress({"a": TaskView(), "b": TaskView(), "c": TaskView()})
    for event in events:
        seen.apply(event)
    return seen


def begins(at: float) -> dict[str, Any]:
    return {"at": at, "event": "dispatcher_started", "devices": [DEVICE]}


def of(event: str, task: str, at: float, **facts: Any) -> dict[str, Any]:
    return {"at": at, "event": event, "task": task, "attempt": 1, "device": "GPU-a", **facts}


def test_the_gap_between_tasks_does_not_hold_the_time_without_a_dispatcher() -> None:
    seen = progress(
        begins(100.0),
        of("attempt_adopted", "a", 100.1, started=20.0),
        of("attempt_ended", "a", 100.2, ended=30.0),
        of("attempt_started", "b", 100.4, started=100.5),
        of("attempt_ended", "b", 101.0, ended=101.0),
        of("attempt_started", "c", 101.2, started=101.5),
    )
    assert list(seen.gaps) == pytest.approx([0.5, 0.5])


def test_devices_are_not_idle_while_there_is_no_dispatcher() -> None:
    idle = {"event": "device", "device": "GPU-a", "idle": True, "reason": "idle"}
    seen = progress(begins(100.0), {"at": 101.0, **idle}, begins(9000.0), {"at": 9001.0, **idle})
    assert seen.idle_seconds == 0.0  # the first one was killed, and could not say so


def test_devices_are_not_idle_while_every_waiting_task_backs_off() -> None:
    seen = progress(
        begins(100.0),
        {"at": 100.0, "event": "device", "device": "GPU-a", "idle": True, "reason": "idle"},
        *(of("attempt_started", task, 100.0, started=100.0) for task in "abc"),
        of("attempt_ended", "c", 110.0, ended=110.0),
        of("waits", "c", 110.0, not_before=140.0, why="waits 30 s after: failed"),
        of("attempt_started", "c", 140.1, started=140.1),
    )
    assert seen.idle_seconds == 0.0


def test_why_a_task_waits_names_devices_as_people_do() -> None:
    busy = {"event": "device", "device": "GPU-a", "idle": False, "reason": "busy: process 4711"}
    seen = progress(begins(100.0), {"at": 101.0, **busy})
    assert seen.why_waits("a", 102.0) == "no idle device (GPU 0 busy: process 4711)"


def test_a_snapshot_knows_which_tasks_back_off() -> None:
    idle = {"event": "device", "device": "GPU-a", "idle": True, "reason": "idle"}
    before = progress(
        begins(100.0),
        {"at": 100.0, **idle},
        *(of("attempt_started", task, 100.0, started=100.0) for task in "abc"),
        of("attempt_ended", "c", 110.0, ended=110.0),
        of("waits", "c", 110.0, not_before=140.0, why="waits 30 s after: failed"),
        {"at": 110.0, **idle},
    )
    after = progress({"at": 111.0, "event": "snapshot", **before.snapshot()})
    after.apply(of("attempt_started", "c", 140.1, started=140.1))
    assert after.idle_seconds == 0.0
