"""The core takes a changed sweep file in: tasks come, go, change and come back, whatever they were at."""

from __future__ import annotations

import pytest

from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.retry import JudgedAttempt, Policy
from scheduler.core.states import InitialTask, Need, State
from scheduler.core.tables.order import LongestFirst
from scheduler.core.verdict import SWEEP_CHANGED, Kind, Verdict

GPU = "gpu0"
GIB = 2**30
COMPLETED = Verdict(Kind.COMPLETED, "…")
FAILED = Verdict(Kind.FAILED, "a bad day")


def core_with(*names: str, order: LongestFirst | None = None) -> Core:
    retries = RetrySettings(max_attempts=2, backoff=0.0)
    tasks = [InitialTask(name) for name in names]
    return Core(tasks, Policy(retries), Limits(log=None), 0.0, order=order)


def starts(actions: list[ev.Action]) -> list[str]:
    return [action.task for action in actions if isinstance(action, ev.Start)]


def end(core: Core, task: str, verdict: Verdict, at: float) -> list[ev.Action]:
    """Let an attempt end; return what comes of its verdict."""
    core.handle(ev.AttemptExited(task), at)
    return core.handle(ev.AttemptJudged(task, JudgedAttempt(verdict, (GPU,), at)), at)


def free(core: Core, at: float) -> list[str]:
    """Offer the device; return the task that is started on it."""
    return starts(core.handle(ev.DeviceIdle(GPU), at))


def test_new_tasks_begin_where_the_file_has_them() -> None:
    core = core_with("a", "b")
    assert free(core, 1.0) == ["a"]
    core.handle(
        ev.Reloaded(("new", "a", "last", "b"), (InitialTask("new"), InitialTask("last"))), 2.0
    )
    seen = []
    for at, task in enumerate(("a", "new", "last", "b"), 3):
        end(core, task, COMPLETED, at)
        core.handle(ev.CheckpointWritten(task), at)
        seen += free(core, at)
    assert seen == ["new", "last", "b"]


def test_where_the_longest_go_first_new_ones_take_their_place() -> None:
    core = core_with("short", "long", order=LongestFirst([("s",), ("l",)]))
    assert free(core, 0.0) == ["short"]
    end(core, "short", COMPLETED, 1.0)
    core.handle(ev.CheckpointWritten("short"), 1.0)
    assert free(core, 1.0) == ["long"]
    end(core, "long", COMPLETED, 11.0)
    new = [InitialTask("short too"), InitialTask("long too")]
    core.handle(ev.ReloadAsked(), 11.0)
    core.handle(ev.CheckpointWritten("long"), 11.0)
    order = ("short", "long", "short too", "long too")
    core.handle(ev.Reloaded(order, tuple(new), (("s",), ("l",))), 11.0)
    assert free(core, 12.0) == ["long too"]


def test_what_left_the_file_is_not_started_and_the_sweep_ends_without_it() -> None:
    core = core_with("a", "b")
    assert free(core, 1.0) == ["a"]
    core.handle(ev.Reloaded(("a",)), 2.0)
    end(core, "a", COMPLETED, 3.0)
    assert ev.Finish(0) in core.handle(ev.CheckpointWritten("a"), 3.0)
    assert core.state("b") is State.GONE


@pytest.mark.parametrize("verdict", [FAILED, COMPLETED])
def test_what_runs_and_left_the_file_comes_to_its_end_and_is_not_tried_again(
    verdict: Verdict,
) -> None:
    core = core_with("a", "b")
    free(core, 1.0)
    assert not core.handle(ev.Reloaded(("b",)), 2.0), "it is not stopped"
    actions = end(core, "a", verdict, 3.0)
    if verdict is COMPLETED:  # what is done is recorded as such
        assert ev.WriteCheckpoint("a") in actions
        actions = core.handle(ev.CheckpointWritten("a"), 3.0)
    assert ev.Withdrawn("a") in actions
    assert core.state("a") is State.GONE
    assert free(core, 4.0) == ["b"]


def test_what_left_the_file_and_is_put_back_while_it_runs_is_as_before() -> None:
    core = core_with("a")
    free(core, 1.0)
    core.handle(ev.Reloaded(("b",), (InitialTask("b"),)), 2.0)
    core.handle(ev.Reloaded(("a", "b")), 3.0)
    assert any(isinstance(action, ev.Waits) for action in end(core, "a", FAILED, 4.0))
    assert free(core, 5.0) == ["a"]


def test_a_running_task_with_other_settings_is_stopped_and_begins_anew() -> None:
    core = core_with("a")
    free(core, 1.0)
    end(core, "a", FAILED, 2.0)
    assert free(core, 3.0) == ["a"]
    stop = ev.Stop("a", Verdict(Kind.STOPPED, SWEEP_CHANGED))
    assert stop in core.handle(ev.Reloaded(("a",), (InitialTask("a"),)), 4.0)
    end(core, "a", stop.verdict, 5.0)
    assert free(core, 6.0) == ["a"]
    assert ev.Waits in map(type, end(core, "a", FAILED, 7.0)), "what failed before is not charged"


def test_a_running_task_that_measures_speed_from_now_on_gets_a_device_alone() -> None:
    part = Need(memory=GIB, alone=False)
    tasks = [InitialTask(name, need=part) for name in "ab"]
    core = Core(tasks, Policy(), Limits(log=None), 0.0)
    idle = ev.DeviceIdle(GPU, 20 * GIB, 20 * GIB)
    assert starts([*core.handle(idle, 1.0), *core.handle(idle, 1.0)]) == ["a", "b"]
    core.handle(ev.Reloaded(("a", "b"), (InitialTask("a"),)), 2.0)
    actions = end(core, "a", Verdict(Kind.STOPPED, SWEEP_CHANGED), 3.0)
    assert not starts([*actions, *core.handle(idle, 4.0)]), "b is still there"
    actions = [*end(core, "b", COMPLETED, 5.0), *core.handle(idle, 6.0)]
    (start,) = [action for action in actions if isinstance(action, ev.Start)]
    assert (start.task, start.alone) == ("a", True)


def test_a_waiting_task_with_other_settings_has_no_past() -> None:
    core = core_with("a")
    free(core, 1.0)
    end(core, "a", FAILED, 2.0)
    core.handle(ev.Reloaded(("a",), (InitialTask("a"),)), 3.0)
    (start,) = core.handle(ev.DeviceIdle(GPU), 4.0)
    assert start == ev.Start("a", 1, (GPU,), 0)


def test_a_task_that_ended_and_has_other_settings_runs_again() -> None:
    core = core_with("a", "b")
    free(core, 1.0)
    end(core, "a", COMPLETED, 2.0)
    core.handle(ev.CheckpointWritten("a"), 2.0)
    core.handle(ev.Reloaded(("a", "b"), (InitialTask("a"),)), 3.0)
    assert free(core, 4.0) == ["a"]


def test_nothing_begins_or_ends_while_the_file_is_read() -> None:
    core = core_with("a", "b")
    free(core, 1.0)
    core.handle(ev.ReloadAsked(), 2.0)
    core.handle(ev.Reloaded(("a",)), 2.0)
    core.handle(ev.ReloadAsked(), 2.0)
    end(core, "a", COMPLETED, 3.0)
    assert not core.handle(ev.CheckpointWritten("a"), 3.0)
    assert not free(core, 4.0)
    assert core.handle(ev.ReloadRefused(), 5.0) == [ev.Finish(0)]


def test_other_settings_release_the_brake() -> None:
    retries = RetrySettings(max_attempts=1, stop_after=2)
    tasks = [InitialTask(name) for name in "abc"]
    core = Core(tasks, Policy(retries), Limits(log=None), 0.0, alike=[GPU])
    for task in "ab":
        free(core, 1.0)
        actions = end(core, task, FAILED, 2.0)
        core.handle(ev.ReloadAsked(), 2.0)
        core.handle(ev.CheckpointWritten(task), 2.0)
        if task == "a":
            core.handle(ev.ReloadRefused(), 2.0)
    assert any(isinstance(action, ev.Braked) for action in actions)
    core.handle(ev.Reloaded(tuple("abc"), tuple(tasks)), 3.0)
    assert free(core, 4.0) == ["a"]
