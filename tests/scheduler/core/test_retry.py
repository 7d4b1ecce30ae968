"""The retry policy: which end of an attempt leads to what, from a task's history alone."""

from __future__ import annotations

import pytest

from scheduler.config.sweep import RetrySettings
from scheduler.core.retry import (
    MAX_BACKOFF,
    MAX_FREE_ATTEMPTS,
    GiveUp,
    GiveUpCode,
    JudgedAttempt,
    Policy,
    Retry,
    RetryCode,
    RetryReason,
)
from scheduler.core.verdict import Kind, Verdict

GIB = 2**30
POLICY = Policy(RetrySettings(max_attempts=3, backoff=10.0, on_oom=("batch_size",)), max_halvings=2)
CHARGED = [
    *(Kind.FAILED, Kind.NO_SUCCESS_LINE, Kind.SIGNALLED, Kind.TIMEOUT, Kind.STALLED),
    *(Kind.TRY_LATER, Kind.KILLED_BY_KERNEL),
]
FREE = [Kind.LOST, Kind.DEVICE_ERROR, Kind.NOT_STARTED, Kind.DISK_FULL]


def attempt(kind: Kind, ended: float = 100.0, **more: object) -> JudgedAttempt:
    return JudgedAttempt(Verdict(kind, "because"), ("gpu",), ended, **more)  # type: ignore[arg-type]


def step(*history: JudgedAttempt) -> Retry | GiveUp:
    return POLICY.next_step(history)


def retry(*history: JudgedAttempt) -> Retry:
    found = step(*history)
    assert isinstance(found, Retry), found
    return found


@pytest.mark.parametrize("kind", CHARGED)
def test_a_failure_is_tried_again_with_doubled_pauses_until_the_attempts_are_used_up(
    kind: Kind,
) -> None:
    assert retry(attempt(kind)).at == 110.0
    assert retry(attempt(kind), attempt(kind, 200.0)).at == 220.0
    assert step(*[attempt(kind)] * 3) == GiveUp(GiveUpCode.NO_ATTEMPTS_LEFT, "because", 3, 3)


def test_wrong_code_is_given_up_at_once() -> None:
    assert step(attempt(Kind.WRONG_CODE)) == GiveUp(GiveUpCode.WRONG_CODE, "because")


@pytest.mark.parametrize("kind", FREE)
def test_what_is_not_the_task_s_fault_costs_it_nothing_but_not_for_ever(kind: Kind) -> None:
    free = [attempt(kind)] * MAX_FREE_ATTEMPTS
    retry(attempt(Kind.FAILED), attempt(Kind.FAILED), *free)
    assert isinstance(step(attempt(Kind.FAILED), attempt(Kind.FAILED), *free, free[0]), GiveUp)
    retry(*free, *free[:2])
    assert isinstance(step(*free, *free[:3]), GiveUp)


def test_what_the_user_stopped_never_counts() -> None:
    assert retry(*[attempt(Kind.STOPPED)] * 100).at == 100.0


def test_a_lost_attempt_is_tried_again_at_once() -> None:
    assert retry(attempt(Kind.LOST)).at == 100.0


def test_a_device_error_is_tried_again_elsewhere() -> None:
    assert retry(attempt(Kind.DEVICE_ERROR)).avoid == "gpu"
    assert retry(attempt(Kind.FAILED)).avoid is None


def test_out_of_memory_is_halved_at_once_and_free_of_charge() -> None:
    history = [attempt(Kind.OUT_OF_MEMORY, halvings=n) for n in range(2)]
    found = [retry(*history[: n + 1]) for n in range(2)]
    assert [(one.halvings, one.at) for one in found] == [(1, 100.0), (2, 100.0)]
    retry(*[attempt(Kind.FAILED)] * 2, *history)  # neither was charged


def test_out_of_memory_at_the_smallest_batch_asks_for_more_memory() -> None:
    small = attempt(Kind.OUT_OF_MEMORY, halvings=2, free_memory=10 * GIB)
    found = retry(small)
    assert (found.halvings, found.above_memory) == (2, 10 * GIB)
    assert found.reason == RetryReason(RetryCode.NEEDS_MEMORY, memory=10 * GIB)
    assert isinstance(step(small, small, small), GiveUp)


def test_out_of_memory_where_the_free_memory_is_not_known_waits() -> None:
    found = retry(attempt(Kind.OUT_OF_MEMORY, halvings=2))
    assert (found.at, found.above_memory) == (110.0, None)


def test_memory_taken_by_others_is_not_charged_and_not_halved() -> None:
    taken = attempt(Kind.OUT_OF_MEMORY, foreign=True, free_memory=GIB)
    found = retry(taken)
    assert (found.halvings, found.above_memory, found.at) == (0, None, 110.0)
    assert isinstance(step(*[taken] * (MAX_FREE_ATTEMPTS + 3)), GiveUp)


def test_a_batch_stays_halved_after_another_failure() -> None:
    history = [attempt(Kind.OUT_OF_MEMORY), attempt(Kind.FAILED, halvings=1)]
    assert retry(*history).halvings == 1
    assert retry(*history, attempt(Kind.STOPPED, halvings=1)).halvings == 1


def test_a_pause_has_a_limit() -> None:
    policy = Policy(RetrySettings(max_attempts=1000, backoff=30.0))
    found = policy.next_step([attempt(Kind.TRY_LATER)] * 999)
    assert isinstance(found, Retry)
    assert found.at == 100.0 + MAX_BACKOFF
