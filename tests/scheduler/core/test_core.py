"""What the core decides in cases that chance seldom brings about; tests/simulation has the rest."""

import pytest

from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.retry import JudgedAttempt, Policy
from scheduler.core.states import InitialTask, Need
from scheduler.core.tables.devices import Fleet
from scheduler.core.tables.watches import OUTPUT_CHECK
from scheduler.core.verdict import Kind, Verdict


def attempt(kind, device="gpu0", ended=1.0):
    return JudgedAttempt(Verdict(kind, kind.value), (device,), ended)


def test_errors_of_a_device_count_whatever_else_fails_on_it_between():
    fleet = Fleet()
    assert fleet.failed_on(attempt(Kind.DEVICE_ERROR), 0, 1.0) is None
    assert fleet.failed_on(attempt(Kind.FAILED), 0, 2.0) is None
    aside = fleet.failed_on(attempt(Kind.DEVICE_ERROR), 1, 3.0)
    assert aside is not None
    assert aside.device == "gpu0"


@pytest.mark.parametrize(
    ("news", "goes_to"), [(ev.DeviceIdle("gpu1"), "gpu1"), (ev.DeviceBusy("gpu1"), "gpu0")]
)
def test_a_task_that_flies_a_device_waits_for_news_of_one_just_released(news, goes_to):
    policy = Policy(RetrySettings(backoff=0.0))
    core = Core([InitialTask("a"), InitialTask("b")], policy, Limits(), 0.0)
    for device in ("gpu0", "gpu1"):
        core.handle(ev.DeviceIdle(device), 0.0)
    events = [
        ev.AttemptExited("a"),
        ev.AttemptJudged("a", attempt(Kind.DEVICE_ERROR)),
        ev.DeviceIdle("gpu0"),
        ev.AttemptExited("b"),
        ev.DeviceIdle("gpu0"),  # as each reading says
    ]
    actions = [action for event in events for action in core.handle(event, 1.0)]
    assert not [action for action in actions if isinstance(action, ev.Start)]
    assert core.handle(news, 2.0) == [ev.Start("a", 2, (goes_to,), 0)]


def test_a_task_is_not_given_up_for_memory_that_a_device_has_which_is_yet_to_be_seen():
    gib = 2**30
    oom = JudgedAttempt(Verdict(Kind.OUT_OF_MEMORY, "…"), ("small",), 1.0, free_memory=23 * gib)
    seeds, sizes = [InitialTask("a", history=(oom,))], {"small": 24 * gib, "large": 80 * gib}
    core = Core(seeds, Policy(RetrySettings()), Limits(), 1.0, sizes)
    assert not [
        action
        for action in core.handle(ev.DeviceIdle("small", 23 * gib, 24 * gib), 2.0)
        if not isinstance(action, ev.Waits)
    ]
    assert core.handle(ev.DeviceIdle("large", 79 * gib, 80 * gib), 3.0) == [
        ev.Start("a", 2, ("large",), 0)
    ]


def test_the_third_ctrl_c_ends_whatever_still_runs():
    core = Core([InitialTask("a")], Policy(), Limits(log=None), 0.0)
    core.handle(ev.DeviceIdle("gpu0"), 0.0)
    first, second, third = (core.handle(ev.Interrupt(), 1.0 + n) for n in range(3))
    assert first == [ev.Draining()]
    assert [type(action) for action in second] == [ev.Stop]
    assert third == [ev.Finish(130)]
    assert core.handle(ev.Interrupt(), 5.0) == []


def test_lent_devices_are_left_in_two_steps():
    core = Core([InitialTask("a"), InitialTask("b")], Policy(), Limits(log=None), 0.0)
    core.handle(ev.DeviceIdle("gpu0"), 0.0)
    assert core.handle(ev.TimeShort("soon"), 1.0) == [ev.Draining("soon")]
    assert core.handle(ev.TimeShort("soon"), 1.0) == []
    [stop] = core.handle(ev.TimeShort("now", stop=True), 2.0)
    assert stop == ev.Stop("a", Verdict(Kind.STOPPED, "now"))
    core.handle(ev.AttemptExited("a"), 3.0)
    [waits, finish] = core.handle(
        ev.AttemptJudged("a", JudgedAttempt(stop.verdict, ("gpu0",), 3.0)), 3.0
    )
    assert isinstance(waits, ev.Waits)
    assert finish == ev.Finish(75)


@pytest.mark.parametrize("first", [True, False])
def test_who_interrupts_wants_no_other_try(first):
    core = Core([InitialTask("a"), InitialTask("b")], Policy(), Limits(log=None), 0.0)
    core.handle(ev.DeviceIdle("gpu0"), 0.0)
    events = [ev.Interrupt(), ev.TimeShort("soon")]
    for event in events if first else reversed(events):
        core.handle(event, 1.0)
    core.handle(ev.AttemptExited("a"), 3.0)
    judged = JudgedAttempt(Verdict(Kind.STOPPED, "now"), ("gpu0",), 3.0)
    assert core.handle(ev.AttemptJudged("a", judged), 3.0)[-1] == ev.Finish(130)


def test_what_an_attempt_writes_is_looked_at_each_second_and_limited():
    core = Core([InitialTask("a")], Policy(), Limits(log=100), 0.0)
    core.handle(ev.DeviceIdle("gpu0"), 0.0)
    assert core.next_wake() == OUTPUT_CHECK
    assert core.handle(ev.Tick(), OUTPUT_CHECK) == [ev.CheckOutput("a")]
    assert core.handle(ev.Output("a", 100, 100), OUTPUT_CHECK) == []
    assert core.next_wake() == 2 * OUTPUT_CHECK
    [stop] = core.handle(ev.Output("a", 101), 2.5)
    assert isinstance(stop, ev.Stop)
    assert stop.verdict.kind is Kind.TOO_MUCH_OUTPUT
    assert core.handle(ev.Output("a", 102), 3.5) == []  # it is being stopped


def test_a_results_file_is_limited_as_a_log_is():
    core = Core([InitialTask("a")], Policy(), Limits(log=100), 0.0)
    core.handle(ev.DeviceIdle("gpu0"), 0.0)
    [stop] = core.handle(ev.Output("a", 0, 101), 1.0)
    assert isinstance(stop, ev.Stop)
    assert "results file" in stop.verdict.cause


def test_what_runs_goes_on_when_fewer_devices_may_be_used():
    core = Core([InitialTask(name) for name in "abcd"], Policy(), Limits(log=None), 0.0)
    for device in ("gpu0", "gpu1"):
        core.handle(ev.DeviceIdle(device), 0.0)
    assert core.handle(ev.AtMost(1), 1.0) == []
    assert core.handle(ev.DeviceIdle("gpu2"), 1.0) == []
    core.handle(ev.AttemptExited("a"), 2.0)
    assert core.handle(ev.DeviceIdle("gpu0"), 2.0) == []  # b still runs
    assert core.handle(ev.AttemptExited("b"), 3.0) == [ev.Start("c", 1, ("gpu0",), 0)]
    assert core.handle(ev.AtMost(None), 4.0) == [ev.Start("d", 1, ("gpu2",), 0)]


def test_the_time_of_an_attempt_in_a_queue_does_not_run():
    core = Core([InitialTask("a")], Policy(), Limits(timeout=10.0, stall=10.0, log=100), 0.0)
    core.handle(ev.DeviceIdle("slurm:0"), 0.0)
    assert core.handle(ev.Queued("a"), 1.0) == []
    assert core.handle(ev.Tick(), 5000.0) == []
    assert core.handle(ev.Began("a"), 6000.0) == []
    assert core.handle(ev.Tick(), 6001.0) == [ev.CheckOutput("a")]
    [stop] = [a for a in core.handle(ev.Tick(), 6010.0) if isinstance(a, ev.Stop)]
    assert stop.verdict.kind is Kind.TIMEOUT


@pytest.mark.parametrize("wish", [ev.Interrupt(), ev.PauseAsked(now=False)])
def test_what_is_queued_does_not_begin_once_nothing_is_to_be_started(wish):
    core = Core([InitialTask(name) for name in "ab"], Policy(), Limits(), 0.0)
    for name in ("slurm:0", "slurm:1"):
        core.handle(ev.DeviceIdle(name), 0.0)
    core.handle(ev.Queued("a"), 1.0)
    core.handle(ev.Queued("b"), 1.0)
    core.handle(ev.Began("a"), 2.0)
    assert [action.task for action in core.handle(wish, 3.0) if isinstance(action, ev.Stop)] == [
        "b"
    ]


def test_a_queued_attempt_can_be_stopped():
    core = Core([InitialTask("a")], Policy(), Limits(), 0.0)
    core.handle(ev.DeviceIdle("slurm:0"), 0.0)
    core.handle(ev.Queued("a"), 1.0)
    [stop, *_] = core.handle(ev.StopAsked("a"), 2.0)
    assert isinstance(stop, ev.Stop)
    core.handle(ev.AttemptExited("a"), 3.0)
    assert core.state("a").name == "JUDGING"


def test_what_starts_next_is_told_before_there_is_a_device():
    core = Core(
        [InitialTask(name) for name in "abc"], Policy(RetrySettings(backoff=0.0)), Limits(), 0.0
    )
    assert core.next_start() == ev.Start("a", 1, (), 0)
    core.handle(ev.DeviceIdle("gpu0"), 0.0)
    assert core.next_start() == ev.Start("b", 1, (), 0)
    core.handle(ev.AttemptExited("a"), 1.0)
    core.handle(ev.AttemptJudged("a", attempt(Kind.FAILED)), 1.0)
    core.handle(ev.Tick(), 2.0)
    assert core.next_start() == ev.Start("a", 2, (), 0)  # what was tried before goes first
    assert core.next_start() == core.next_start()  # asking changes nothing
    core.handle(ev.PauseAsked(), 2.0)
    assert core.next_start() is None
    core.handle(ev.ResumeAsked(), 2.0)
    assert core.handle(ev.DeviceIdle("gpu0"), 2.0) == [ev.Start("a", 2, ("gpu0",), 0)]


def test_nothing_starts_next_where_no_device_may_be_used() -> None:
    core = Core([InitialTask("a"), InitialTask("b")], Policy(), Limits(), 0.0)
    for device in ("gpu0", "gpu1"):
        core.handle(ev.DeviceIdle(device), 0.0)
    core.handle(ev.AttemptExited("a"), 1.0)
    core.handle(ev.AttemptJudged("a", attempt(Kind.STOPPED)), 1.0)
    assert core.next_start() is not None
    for forbids, allows in [
        (ev.AtMost(0), ev.AtMost(1)),
        (ev.DrainAsked("gpu1"), ev.DrainAsked("gpu1", on=False)),
    ]:
        core.handle(ev.DrainAsked("gpu0"), 2.0)
        core.handle(forbids, 2.0)
        assert core.next_start() is None
        core.handle(allows, 2.0)
        assert core.next_start() is not None


def test_what_starts_next_is_the_first_for_which_there_are_devices() -> None:
    tasks = [InitialTask("both", need=Need(2)), InitialTask("one"), InitialTask("last")]
    core = Core(tasks, Policy(), Limits(), 0.0)
    for device in ("gpu0", "gpu1"):
        core.handle(ev.DrainAsked(device), 0.0)
        core.handle(ev.DeviceIdle(device), 0.0)
    core.handle(ev.DrainAsked("gpu1", on=False), 0.0)  # where one starts
    assert core.next_start() == ev.Start("last", 1, (), 0)
    core.handle(ev.DrainAsked("gpu0", on=False), 0.0)
    start = core.next_start()
    assert start is not None and start.task == "both"
