"""Which task comes next: the longest by what like ones took, or a random order that stays."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config.matrix.shuffle import shuffled
from scheduler.config.sweep import Limits
from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.retry import JudgedAttempt, Policy
from scheduler.core.states import ONE_ALONE, InitialTask
from scheduler.core.tables.order import LongestFirst, learned, planned_starts
from scheduler.core.tables.waiting import Waiting
from scheduler.core.verdict import Kind, Verdict

# pipe × steps
VALUES = [(pipe, steps) for pipe in ("SD15", "SDXL", "new") for steps in (20, 50)]


def test_what_took_long_for_a_value_counts_for_all_that_have_it() -> None:
    assert learned(VALUES, {}).sequence() == [0, 1, 2, 3, 4, 5]
    # SD15 20 steps: 10 s; 50: 25 s; SDXL 20 steps: 40 s.
    order = learned(VALUES, {0: 10.0, 1: 25.0, 2: 40.0})
    # SDXL 50; new 50 before SDXL 20? By steps alone: 25 against 20 s, SDXL 1.85 times the mean.
    assert order.sequence()[0] == 3
    assert order.sequence()[-1] == 0


def test_what_shares_no_value_stands_in_the_middle_in_the_order_of_the_axes() -> None:
    values = ["long", "x", "short", "y", "long", "z"]
    order = learned([(value,) for value in values], {0: 100.0, 2: 1.0})
    assert order.sequence() == [0, 4, 1, 3, 5, 2]


def test_before_any_is_measured_the_most_work_comes_first() -> None:
    work = {0: 20.0, 1: 50.0, 2: 120.0, 3: 300.0, 4: 20.0}
    # Of the last nothing is known: it stands in the middle.
    assert LongestFirst(VALUES, work).sequence() == [3, 2, 5, 1, 0, 4]


def test_what_is_measured_corrects_the_work() -> None:
    work = {number: float(steps) for number, (_, steps) in enumerate(VALUES)}
    order = learned(VALUES, {0: 10.0, 2: 160.0}, work)  # 0.5 and 8 s for each unit
    assert order.sequence() == [3, 2, 5, 4, 1, 0]
    assert order.expected(1) == pytest.approx(25.0)
    assert order.expected(3) == pytest.approx(400.0)
    assert order.left(3, 100.0) == pytest.approx(300.0)
    assert order.left(3, 1000.0) == pytest.approx(20.0)


def done_after(
    seconds: Sequence[float], starts: Sequence[float], free_in: Sequence[float]
) -> float:
    """Return when all are done if each device that falls free takes the one with the earliest start."""
    devices = list(free_in)
    heapq.heapify(devices)
    for _, took in sorted(zip(starts, seconds, strict=True), key=lambda pair: (pair[0], -pair[1])):
        heapq.heapreplace(devices, devices[0] + took)
    return max(devices)


def test_few_tasks_for_each_device_are_planned() -> None:
    seconds = [50.0] * 5 + [30.0] * 5 + [25.0] * 5 + [20.0] * 5
    longest_first = [float(number) for number in range(20)]
    assert done_after(seconds, longest_first, [0.0] * 8) == 90.0
    assert done_after(seconds, planned_starts(seconds, [0.0] * 8), [0.0] * 8) == 80.0


SECONDS = st.lists(st.floats(1.0, 100.0), min_size=1, max_size=30)
FREE_IN = st.lists(st.one_of(st.just(0.0), st.floats(0.0, 100.0)), min_size=1, max_size=8)


@given(SECONDS, FREE_IN)
def test_a_plan_is_never_worse_than_the_longest_first(
    seconds: list[float], free_in: list[float]
) -> None:
    seconds.sort(reverse=True)
    longest_first = done_after(seconds, [float(n) for n in range(len(seconds))], free_in)
    planned = done_after(seconds, planned_starts(seconds, free_in), free_in)
    assert planned <= longest_first + 1e-6


def test_the_core_starts_by_the_plan() -> None:
    steps = [50, 30, 25, 20]
    values = [(n, amount) for amount in steps for n in range(5)]
    work = {number: float(amount) for number, (_, amount) in enumerate(values)}
    tasks = [InitialTask(f"t{n}") for n in range(20)]
    names = [f"gpu{n}" for n in range(8)]
    core = Core(
        tasks,
        Policy(),
        Limits(log=None),
        0.0,
        dict.fromkeys(names),
        order=LongestFirst(values, work),
    )
    running: list[tuple[float, str, str]] = []
    now, events = 0.0, [ev.DeviceIdle(name) for name in names]
    while True:
        for event in events:
            for action in core.handle(event, now):
                if isinstance(action, ev.Start):
                    took = work[int(action.task[1:])]
                    heapq.heappush(running, (now + took, action.task, action.devices[0]))
                elif isinstance(action, ev.WriteCheckpoint):
                    events.append(ev.CheckpointWritten(action.task))
        if not running:
            break
        now, task, device = heapq.heappop(running)
        judged = JudgedAttempt(Verdict(Kind.COMPLETED, ""), (device,), now)
        events = [ev.AttemptExited(task), ev.AttemptJudged(task, judged), ev.DeviceIdle(device)]
    assert now == 80.0


def test_a_time_that_is_none_counts_for_nothing() -> None:
    order = LongestFirst(VALUES)
    assert not order.completed(0)
    assert not order.completed(0, 0.0)
    assert not order.completed(0, float("inf"))
    order.ended(0, 5.0)
    assert order.completed(0)


def test_the_core_starts_next_what_is_like_the_longest() -> None:
    values = [("a",), ("b",), ("a",), ("b",), ("a",), ("b",)]
    tasks = [InitialTask(f"t{n}") for n in range(6)]
    core = Core(tasks, Policy(), Limits(log=None), 0.0, order=LongestFirst(values))
    now, started = 0.0, []
    actions = core.handle(ev.DeviceIdle("gpu"), now)
    while starts := [action for action in actions if isinstance(action, ev.Start)]:
        (start,) = starts
        started.append(start.task)
        now += {"a": 1.0, "b": 60.0}[values[int(start.task[1:])][0]]
        core.handle(ev.AttemptExited(start.task), now)
        judged = JudgedAttempt(Verdict(Kind.COMPLETED, ""), ("gpu",), now)
        actions = core.handle(ev.AttemptJudged(start.task, judged), now)
        actions += core.handle(ev.CheckpointWritten(start.task), now)
        actions += core.handle(ev.DeviceIdle("gpu"), now)
    # Of b nothing is known after the first, but a is the only one that is; then both are.
    assert started == ["t0", "t1", "t3", "t5", "t2", "t4"]


@given(st.lists(st.sampled_from(["take", "back", "complete"]), max_size=60), st.integers(1, 8))
def test_every_task_is_taken_however_the_order_changes(steps: list[str], count: int) -> None:
    waiting = Waiting(LongestFirst([(n % 2, n % 3) for n in range(count)]))
    for task in range(count):
        waiting.enter(task, ONE_ALONE, untried=True)
    taken: list[int] = []
    left = set(range(count))
    for step in steps:
        line = waiting.first_line(lambda _: False)
        if step == "take" and line is not None:
            taken.append(waiting.take(line))
            left.remove(taken[-1])
        elif step == "back" and taken:
            left.add(task := taken.pop())
            waiting.put_back(task)
        elif step == "complete" and taken:
            waiting.ended(taken[0], 1.0 + taken[0])
            waiting.completed(taken.pop(0))
    rest = set()
    while (line := waiting.first_line(lambda _: False)) is not None:
        rest.add(waiting.take(line))
    assert rest == left


@given(st.lists(st.text(max_size=4), unique=True, max_size=12), st.integers(0, 2**32))
def test_a_random_order_keeps_as_tasks_come_and_go(tasks: list[str], seed: int) -> None:
    order = shuffled(tasks, seed)
    assert sorted(order) == sorted(tasks)
    assert shuffled(tasks[::-1], seed) == order
    assert shuffled(tasks[1:], seed) == [task for task in order if task not in tasks[:1]]


def test_another_seed_is_another_order() -> None:
    tasks = [str(n) for n in range(20)]
    assert shuffled(tasks, 1) != shuffled(tasks, 2) != tasks
