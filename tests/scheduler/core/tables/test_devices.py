"""Which devices are set aside: the bad one soon, a healthy one never, whatever the tasks are like."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.retry import JudgedAttempt, Policy
from scheduler.core.states import InitialTask, State
from scheduler.core.tables.devices import Fleet
from scheduler.core.verdict import Kind, Verdict

GOOD, BAD = Verdict(Kind.COMPLETED, "fine"), Verdict(Kind.FAILED, "exit code 1: ValueError")


@dataclass
class Box:
    """A machine on which each task takes its time and ends as it must; `run` goes through a sweep."""

    devices: int
    # How often each task fails before it is completed.
    failures: list[int]
    seconds: list[float]
    retries: RetrySettings = field(default_factory=RetrySettings)
    # Devices on which everything fails, at once.
    bad: tuple[str, ...] = ()
    alike: bool = False
    aside: list[str] = field(default_factory=list)
    failed_on: list[str] = field(default_factory=list)

    def run(self) -> Core:
        names = [f"d{n}" for n in range(self.devices)]
        tasks = [InitialTask(str(n)) for n in range(len(self.failures))]
        alike = names if self.alike else ()
        retries = replace(self.retries, stop_after=None)  # what fails alike is to go on failing
        core = Core(tasks, Policy(retries), Limits(), 0.0, alike=alike)
        tries = [0] * len(tasks)
        ends: list[tuple[float, int, str]] = []
        actions = [a for name in names for a in core.handle(ev.DeviceIdle(name), 0.0)]
        now = 0.0
        while True:
            for action in actions:
                match action:
                    case ev.Start():
                        task = int(action.task)
                        tries[task] += 1
                        seconds = 1.0 if action.devices[0] in self.bad else self.seconds[task]
                        heapq.heappush(ends, (now + seconds, task, action.devices[0]))
                    case ev.SetAside():
                        self.aside.append(action.device)
                    case ev.WriteCheckpoint():
                        heapq.heappush(ends, (now, int(action.task), ""))
                    case ev.Finish():
                        return core
            wake = core.next_wake()
            if ends and (wake is None or ends[0][0] <= wake):
                now, task, device = heapq.heappop(ends)
                if not device:
                    actions = core.handle(ev.CheckpointWritten(str(task)), now)
                    continue
                fails = device in self.bad or tries[task] <= self.failures[task]
                if fails:
                    self.failed_on.append(device)
                attempt = JudgedAttempt(BAD if fails else GOOD, (device,), now)
                actions = core.handle(ev.AttemptExited(str(task)), now)
                actions += core.handle(ev.AttemptJudged(str(task), attempt), now)
                actions += core.handle(ev.DeviceIdle(device), now)
            else:
                assert wake is not None
                now = max(now, wake)
                actions = core.handle(ev.Tick(), now)


BACKOFFS = st.sampled_from([0.001, 1.0, 30.0])
SECONDS = st.sampled_from([1.0, 5.0, 60.0])


@given(st.randoms(use_true_random=False), st.sampled_from([2, 4, 8]), BACKOFFS, SECONDS, SECONDS)
def test_flaky_tasks_cost_no_healthy_device(
    rng: Random, devices: int, backoff: float, flaky: float, sound: float
) -> None:
    failures = [2] * 10 + [0] * 50
    rng.shuffle(failures)
    seconds = [(flaky if n else sound) * (0.5 + rng.random()) for n in failures]
    box = Box(devices, failures, seconds, RetrySettings(backoff=backoff))
    core = box.run()
    assert box.aside == []
    assert core.count(State.DONE) == 60


@pytest.mark.parametrize("backoff", [0.001, 30.0])
@pytest.mark.parametrize("flaky", [0.1, 60.0])
@pytest.mark.parametrize("devices", [2, 4])
@pytest.mark.parametrize("first", [0, 20, 50])
def test_nor_do_flaky_tasks_that_follow_each_other(
    first: int, devices: int, flaky: float, backoff: float
) -> None:
    failures = [0] * first + [2] * 10 + [0] * (50 - first)
    box = Box(
        devices, failures, [flaky if n else 20.0 for n in failures], RetrySettings(backoff=backoff)
    )
    core = box.run()
    assert (box.aside, core.count(State.DONE)) == ([], 60)


@pytest.mark.parametrize("first", [0, 30, 60])
@pytest.mark.parametrize("backoff", [0.001, 30.0])
def test_nor_do_tasks_that_always_fail(first: int, backoff: float) -> None:
    failures = [0] * first + [99] * 12 + [0] * (60 - first)
    box = Box(4, failures, [1.0 if n else 20.0 for n in failures], RetrySettings(backoff=backoff))
    core = box.run()
    assert (box.aside, core.count(State.DONE), core.count(State.FAILED)) == ([], 60, 12)


@given(st.randoms(use_true_random=False), st.sampled_from([2, 4, 8]), BACKOFFS, st.booleans())
def test_a_bad_device_is_found_and_costs_no_task(
    rng: Random, devices: int, backoff: float, others_fail: bool
) -> None:
    failures = [99] * (12 if others_fail else 0) + [0] * 60
    rng.shuffle(failures)
    seconds = [20.0 * (0.5 + rng.random()) for _ in failures]
    box = Box(devices, failures, seconds, RetrySettings(backoff=backoff), bad=("d1",))
    core = box.run()
    assert set(box.aside) == {"d1"}
    assert core.count(State.DONE) >= 60 - 2  # before it is suspect, one or two may end on it


@pytest.mark.parametrize("place", ["d0", "d3"])
def test_a_bad_device_is_found_by_the_first_three_tasks_that_are_fine_elsewhere(place: str) -> None:
    box = Box(4, [0] * 60, [20.0] * 60, RetrySettings(backoff=0.001), bad=(place,))
    core = box.run()
    assert box.aside[0] == place
    # One a second fails until three have been completed elsewhere; none comes back to it.
    assert len(box.failed_on) < 60
    assert core.count(State.DONE) == 60


def test_without_a_second_attempt_what_fails_for_good_in_a_row_must_do() -> None:
    box = Box(2, [0] * 60, [2.5] * 60, RetrySettings(max_attempts=1), bad=("d1",))
    core = box.run()
    assert set(box.aside) == {"d1"}
    assert core.count(State.FAILED) < 12


def test_parts_of_one_whole_are_never_set_aside() -> None:
    box = Box(4, [0] * 30, [20.0] * 30, bad=("d1",), alike=True)
    box.run()
    assert box.aside == []


def test_errors_of_the_device_itself_count_unless_the_task_meets_them_elsewhere_too() -> None:
    fleet = Fleet()
    own = Verdict(Kind.DEVICE_ERROR, "uncorrectable ECC error")
    assert fleet.failed_on(JudgedAttempt(own, ("d0",), 1.0), 0, 1.0) is None
    assert fleet.failed_on(JudgedAttempt(own, ("d1",), 2.0), 0, 2.0) is None
    assert fleet.failed_on(JudgedAttempt(own, ("d0",), 3.0), 1, 3.0) is None
    aside = fleet.failed_on(JudgedAttempt(own, ("d0",), 4.0), 2, 4.0)
    assert aside is not None
    assert (aside.device, aside.cause) == ("d0", "uncorrectable ECC error")
