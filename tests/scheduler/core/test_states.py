"""Where a task can stand: the table, its diagrams, and what becomes of an event that cannot happen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import pytest

import scheduler.core.moves.course
from scheduler.config.sweep import Limits, RetrySettings
from scheduler.core import events as ev
from scheduler.core import states
from scheduler.core.core import Core
from scheduler.core.retry import JudgedAttempt, Policy
from scheduler.core.states import (
    STORY_LENGTH,
    TRANSITIONS,
    ImpossibleEventError,
    InitialTask,
    State,
)
from scheduler.core.tables.tasks import Tasks
from scheduler.core.verdict import Kind, Verdict
from tests.simulation.scenario import build, live_through

ARCHITECTURE = Path(__file__).parents[3] / "docs/architecture.md"
DEVICE = "gpu0"
COMPLETED = JudgedAttempt(Verdict(Kind.COMPLETED, "…"), (DEVICE,), 1.0)
FAILED = JudgedAttempt(Verdict(Kind.FAILED, "…"), (DEVICE,), 1.0)
EVENTS: list[states.TaskEvent] = [
    ev.StartRefused("a"),
    ev.Queued("a"),
    ev.Began("a"),
    ev.Activity("a", 1.0),
    ev.Output("a", 1),
    ev.AttemptExited("a"),
    ev.AttemptJudged("a", COMPLETED),
    ev.CheckpointWritten("a"),
    ev.WriteFailed("no room", "a"),
]


def table() -> set[tuple[str, str, str]]:
    return {
        (state.name, step.__name__, to.name)
        for state, steps in TRANSITIONS.items()
        for step, targets in steps.items()
        for to in targets
    }


def core_in(state: State, *, max_attempts: int = 3) -> Core:
    """Return a core whose only task, "a", stands there."""
    policy = Policy(RetrySettings(max_attempts, backoff=0.0))
    core = Core([InitialTask("a")], policy, Limits(), 0.0)
    told: list[ev.Event] = []
    if state is not State.WAITING:
        told.append(ev.DeviceIdle(DEVICE))
    if state not in (State.WAITING, State.RUNNING):
        told.append(ev.AttemptExited("a"))
    if state in (State.WRITING, State.DONE):
        told.append(ev.AttemptJudged("a", COMPLETED))
    if state is State.FAILED:
        wrong = JudgedAttempt(Verdict(Kind.WRONG_CODE, "…"), (DEVICE,), 1.0)
        told.append(ev.AttemptJudged("a", wrong))
    if state in (State.DONE, State.FAILED):
        told.append(ev.CheckpointWritten("a"))
    if state is State.GONE:
        told = [ev.Reloaded(order=())]
    for event in told:
        core.handle(event, 1.0)
    assert core.state("a") is state
    return core


def test_the_diagram_of_the_module_is_the_table() -> None:
    drawn = re.findall(r"^    (\w+) --(\w+)--> (\w+)$", str(states.__doc__), re.MULTILINE)
    assert set(drawn) == table()


def test_the_diagram_of_the_documents_is_the_table() -> None:
    drawn = re.findall(
        r"^    ([A-Z]+) --> ([A-Z]+): (\w+)$", ARCHITECTURE.read_text(), re.MULTILINE
    )
    assert {(begin, step, end) for begin, end, step in drawn} == table()


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", State)
def test_an_event_is_taken_where_the_table_has_it_and_nowhere_else(
    state: State, event: states.TaskEvent
) -> None:
    core = core_in(state)
    if type(event) in TRANSITIONS[state]:
        core.handle(event, 2.0)
        return
    with pytest.raises(ImpossibleEventError) as caught:
        core.handle(event, 2.0)
    assert (caught.value.event, caught.value.state) == (event, state)
    assert core.state("a") is state, "nothing came of it"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_of_a_task_that_is_not_there(event: states.TaskEvent) -> None:
    core = Core([InitialTask("b")], Policy(), Limits(), 0.0)
    with pytest.raises(ImpossibleEventError, match="there is no such task") as caught:
        core.handle(event, 1.0)
    assert (caught.value.state, caught.value.story) == (None, ())


def test_the_error_tells_the_story() -> None:
    core = core_in(State.JUDGING)
    core.handle(ev.AttemptJudged("a", FAILED), 5.0)
    core.handle(ev.DeviceIdle(DEVICE), 6.0)
    core.handle(ev.AttemptExited("a"), 7.0)
    with pytest.raises(ImpossibleEventError) as caught:
        core.handle(ev.AttemptExited("a"), 8.0)
    steps = [(at, type(step)) for at, step in caught.value.story]
    assert steps == [
        (1.0, ev.Start),
        (1.0, ev.AttemptExited),
        (5.0, ev.AttemptJudged),
        (5.0, ev.Waits),
        (6.0, ev.Start),
        (7.0, ev.AttemptExited),
    ]
    first, *lines = str(caught.value).splitlines()
    assert first == "AttemptExited(task='a'): the task is JUDGING"
    assert lines[0].startswith("         1.000  Start(task='a', number=1, devices=('gpu0',), ")
    assert len(lines) == len(steps)


def test_the_story_of_a_task_that_has_ended_is_kept_a_while() -> None:
    core = core_in(State.DONE)
    with pytest.raises(ImpossibleEventError, match="the task is DONE") as caught:
        core.handle(ev.CheckpointWritten("a"), 2.0)
    assert isinstance(caught.value.story[-1][1], ev.CheckpointWritten)


def test_no_story_grows_without_end() -> None:
    core = core_in(State.RUNNING)
    for turn in range(STORY_LENGTH):
        core.handle(ev.StartRefused("a"), 2.0 + turn)
        core.handle(ev.DeviceIdle(DEVICE), 2.0 + turn)
    with pytest.raises(ImpossibleEventError) as caught:
        core.handle(ev.CheckpointWritten("a"), 99.0)
    assert len(caught.value.story) == STORY_LENGTH
    assert caught.value.story[-1][0] == 1.0 + STORY_LENGTH


class Recording(Tasks):
    """Notes each transition that it makes."""

    made: ClassVar[set[tuple[str, str, str]]] = set()

    def move(self, task: int, step: states.Step, to: State, now: float) -> None:
        self.made.add((self.states[task].name, type(step).__name__, to.name))
        super().move(task, step, to, now)


def test_every_transition_of_the_table_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never is would be a mistake in the table; one that is not in it, an error."""
    monkeypatch.setattr(scheduler.core.moves.course, "Tasks", Recording)
    for seed in range(200):
        live_through(build(seed), seed)
    stay = {(begin, step, end) for begin, step, end in table() if begin == end}
    assert Recording.made >= table() - stay
    assert Recording.made <= table()


def test_a_move_that_the_table_lacks_raises_also_under_minus_o() -> None:
    core = core_in(State.RUNNING)
    with pytest.raises(ImpossibleEventError, match="the task is RUNNING"):
        core._tasks.move(0, ev.CheckpointWritten("a"), State.DONE, 0.0)
