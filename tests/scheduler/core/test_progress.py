"""The progress: what events make of it."""

from __future__ import annotations

import pytest

from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.core.retry import RetryCode, RetryReason
from scheduler.core.snapshot import ListedDevice, TaskView

IDLE = je.DeviceState("GPU-a", idle=True, reason="idle")
BACKS_OFF = je.TaskWaits("c", 140.0, RetryReason(RetryCode.FAILED, pause=30.0))


def progress(*events: tuple[float, je.JournalEvent]) -> SweepProgress:
    seen = SweepProgress({"a": TaskView(), "b": TaskView(), "c": TaskView()})
    for at, event in events:
        seen.apply(je.Entry(at, event))
    return seen


def begins(at: float) -> tuple[float, je.JournalEvent]:
    device = ListedDevice("GPU-a", "a GPU", "0")
    return at, je.DispatcherStarted(1, 2, 3, [device], "1 device")


def starts(task: str, started: float) -> je.AttemptStarted:
    return je.AttemptStarted(task, 1, ("GPU-a",), started)


def ends(task: str, ended: float) -> je.AttemptEnded:
    return je.AttemptEnded(task, 1, ("GPU-a",), ended)


def test_the_gap_between_tasks_does_not_hold_the_time_without_a_dispatcher() -> None:
    seen = progress(
        begins(100.0),
        (100.1, je.AttemptAdopted("a", 1, ("GPU-a",), 20.0)),
        (100.2, ends("a", 30.0)),
        (100.4, starts("b", 100.5)),
        (101.0, ends("b", 101.0)),
        (101.2, starts("c", 101.5)),
    )
    assert list(seen.gaps) == pytest.approx([0.5, 0.5])


def test_an_attempt_is_on_all_its_devices() -> None:
    here = [ListedDevice(f"GPU-{name}", "a GPU", name) for name in "abcd"]
    idle = [(100.0, je.DeviceState(device.id, idle=True, reason="idle")) for device in here]
    both = ("GPU-a", "GPU-b")
    seen = progress((100.0, je.DispatcherStarted(1, 2, 3, here, "4 devices")), *idle)
    for at, event in [
        (100.0, je.AttemptStarted("a", 1, both, 100.0)),
        (110.0, je.AttemptEnded("a", 1, both, 110.0)),
        (110.0, je.TaskCompleted("a", both, 1, 10.0)),
        (110.5, je.AttemptStarted("b", 1, both, 110.5)),
    ]:
        seen.apply(je.Entry(at, event))
    assert seen.tasks["b"].devices == both
    assert [device.tasks for device in seen.devices.values()] == [["b"], ["b"], [], []]
    assert list(seen.gaps) == pytest.approx([0.5, 0.5])


def test_devices_are_not_idle_while_there_is_no_dispatcher() -> None:
    seen = progress(begins(100.0), (101.0, IDLE), begins(9000.0), (9001.0, IDLE))
    assert seen.idle_seconds == 0.0  # the first one was killed, and could not say so


def test_devices_are_not_idle_while_every_waiting_task_backs_off() -> None:
    seen = progress(
        begins(100.0),
        (100.0, IDLE),
        *((100.0, starts(task, 100.0)) for task in "abc"),
        (110.0, ends("c", 110.0)),
        (110.0, BACKS_OFF),
        (140.1, starts("c", 140.1)),
    )
    assert seen.idle_seconds == 0.0


def test_a_snapshot_knows_which_tasks_back_off() -> None:
    before = progress(
        begins(100.0),
        (100.0, IDLE),
        *((100.0, starts(task, 100.0)) for task in "abc"),
        (110.0, ends("c", 110.0)),
        (110.0, BACKS_OFF),
        (110.0, IDLE),
    )
    after = progress((111.0, before.snapshot()))
    assert after.tasks["c"] == before.tasks["c"]
    after.apply(je.Entry(140.1, starts("c", 140.1)))
    assert after.idle_seconds == 0.0


def test_a_defect_of_ours_is_not_taken_for_a_damaged_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: object) -> None:
        raise KeyError("a mistake in a handler")

    monkeypatch.setattr(SweepProgress, "_waits", defect)
    with pytest.raises(KeyError, match="a mistake"):
        progress(begins(100.0), (110.0, BACKS_OFF))


def test_the_time_of_a_task_that_runs_is_that_of_both_its_stages() -> None:
    stage_done = je.TaskWaits("a", 0.0, RetryReason(RetryCode.STAGE_DONE))
    seen = progress(
        begins(100.0),
        (100.0, starts("a", 100.0)),
        (130.0, ends("a", 130.0)),
        (130.0, stage_done),
        (140.0, je.AttemptStarted("a", 2, ("GPU-a",), 140.0)),
    )
    view = seen.tasks["a"]
    assert (view.attempts_text, view.ran_for(145.0)) == ("1 + 1", 35.0)
    seen.apply(je.Entry(150.0, starts("a", 150.0)))
    assert (view.attempts_text, view.ran_for(155.0)) == ("1", 5.0), "it began anew"
