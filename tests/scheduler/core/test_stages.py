"""Tasks in two stages: what is timed has its device alone, the rest may share it."""

from __future__ import annotations

import pytest

from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.retry import GiveUp, JudgedAttempt, Policy, Retry, RetryCode
from scheduler.core.states import InitialTask, Need, State
from scheduler.core.verdict import Kind, Verdict

GIB = 2**30
LATER = Need(memory=20 * GIB, alone=False, later=True)
STAGE_DONE = Verdict(Kind.STAGE_DONE, "…")


def staged(count: int, *, most: int = 3, history: tuple[JudgedAttempt, ...] = ()) -> Core:
    tasks = [InitialTask(f"t{n}", untimed=LATER, history=history) for n in range(count)]
    policy = Policy(RetrySettings(max_attempts=1, backoff=0.0))
    return Core(tasks, policy, Limits(log=None), 0.0, most_sharers=most)


def see(core: Core, device: str = "gpu0") -> list[tuple[str, str | None, bool]]:
    return starts(core.handle(ev.DeviceIdle(device, 80 * GIB, 80 * GIB), 1.0))


def starts(actions: list[ev.Action]) -> list[tuple[str, str | None, bool]]:
    return [(one.task, one.stage, one.alone) for one in actions if isinstance(one, ev.Start)]


def end(core: Core, task: str, verdict: Verdict = STAGE_DONE) -> list[ev.Action]:
    exited = core.handle(ev.AttemptExited(task), 2.0)
    judged = ev.AttemptJudged(task, JudgedAttempt(verdict, ("gpu0",), 2.0))
    return exited + core.handle(judged, 2.0)


def test_untimed_stages_wait_until_they_fill_a_device() -> None:
    core = staged(4)
    for number in range(3):
        assert see(core) == [(f"t{number}", "timed", True)]
        end(core, f"t{number}")
    assert see(core) == [(f"t{number}", "untimed", False) for number in range(3)]
    assert see(core) == []  # t3 is timed: it waits until all three are gone


def test_the_timed_stage_that_is_next_is_told_though_others_fill_a_device_before_it() -> None:
    core = staged(5)
    for number in range(3):
        see(core)
        end(core, f"t{number}")
        start = core.next_start()
        assert start is not None
        assert (start.task, start.stage, start.alone) == (f"t{number + 1}", "timed", True)
    see(core)
    assert core.next_start() == start
    see(core, "gpu1")
    start = core.next_start()
    assert start is not None and start.task == "t4"


def test_what_is_left_at_the_end_does_not_wait() -> None:
    core = staged(1)
    see(core)
    end(core, "t0")
    assert see(core) == [("t0", "untimed", False)]
    assert [type(action) for action in end(core, "t0", Verdict(Kind.COMPLETED, ""))] == [
        ev.WriteCheckpoint
    ]


def test_the_timed_stage_is_no_failure_and_is_not_charged() -> None:
    core = staged(1)
    see(core)
    [waits] = end(core, "t0")
    assert isinstance(waits, ev.Waits)
    assert waits.retry.reason.code is RetryCode.STAGE_DONE
    [start] = core.handle(ev.DeviceIdle("gpu0", 80 * GIB, 80 * GIB), 3.0)
    assert isinstance(start, ev.Start)
    assert start.number == 2
    assert start.share == 20 * GIB


def test_a_second_timed_stage_is_no_progress() -> None:
    core = staged(1)
    for _ in range(2):
        see(core)
        actions = end(core, "t0")
    [write] = actions
    assert isinstance(write, ev.WriteCheckpoint)
    assert write.failure is not None
    assert core.state("t0") is State.WRITING


def test_a_dispatcher_that_starts_again_knows_what_is_left() -> None:
    core = staged(1, history=(JudgedAttempt(STAGE_DONE, ("gpu0",), 0.0),))
    assert see(core) == [("t0", "untimed", False)]


def test_where_devices_are_not_shared_any_more_all_is_measured_alone() -> None:
    history = (JudgedAttempt(STAGE_DONE, ("gpu0",), 0.0),)
    policy = Policy(RetrySettings(max_attempts=1, backoff=0.0))
    core = Core([InitialTask("t0", history=history)], policy, Limits(log=None), 0.0)
    assert see(core) == [("t0", None, True)]


@pytest.mark.parametrize(
    ("kinds", "is_over"),
    [
        ((Kind.STAGE_DONE, Kind.FAILED), True),
        ((Kind.FAILED, Kind.STAGE_DONE), False),
        ((Kind.STAGE_DONE, Kind.STOPPED), False),
        ((Kind.STAGE_DONE, Kind.STAGE_DONE), True),
    ],
)
def test_only_failures_use_attempts_up(kinds: tuple[Kind, ...], is_over: bool) -> None:
    policy = Policy(RetrySettings(max_attempts=1, backoff=0.0))
    history = [JudgedAttempt(Verdict(kind, ""), ("gpu0",), 0.0) for kind in kinds]
    assert isinstance(policy.next_step(history), GiveUp if is_over else Retry)
