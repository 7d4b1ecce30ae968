"""What the core decides in cases that chance seldom brings about; tests/simulation has the rest."""

import pytest

from scheduler import events as ev
from scheduler.core import Core, Seed
from scheduler.fleet import Fleet
from scheduler.retry import Attempt, Policy
from scheduler.sweep import Limits, RetrySettings
from scheduler.verdict import Kind, Verdict


def attempt(kind, device="gpu0", ended=1.0):
    return Attempt(Verdict(kind, kind.value), device, ended)


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
    core = Core([Seed("a"), Seed("b")], policy, Limits(), 0.0)
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
    assert core.handle(news, 2.0) == [ev.Start("a", 2, goes_to, 0)]
