"""Which failures are alike, and when so many are enough."""

from __future__ import annotations

import pytest

from scheduler.core.brake import Brake, likeness
from scheduler.core.retry import JudgedAttempt
from scheduler.core.verdict import Kind, Verdict


def attempt(cause: str, kind: Kind = Kind.FAILED, device: str = "cpu:0") -> JudgedAttempt:
    return JudgedAttempt(Verdict(kind, cause), (device,), 0.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("exit code 1: KeyError: 'lr'", "exit code 1: KeyError: 'lr'"),
        ("exit code 1: step 7 of 20: NaN", "exit code 1: step 13 of 50: NaN"),
        ("killed by SIGSEGV: at 0x7f00dead", "killed by SIGSEGV: at 0xffe1"),
        (
            "exit code 1: FileNotFoundError: '/data/a b/1.json'",
            "exit code 1: FileNotFoundError: '/data/c'",
        ),
        ("exit code 1: cannot read data/a.json: gone", "exit code 1: cannot read /b.json: gone"),
        ("exit code 1: no blob 0123abcd4567ef", "exit code 1: no blob fedc4321ba00"),
        ("exit code 1: 12:30:01,5 lost 1.5e-3", "exit code 1: 08:00:59,7 lost 22"),
    ],
)
def test_what_differs_from_task_to_task_does_not_count(one: str, other: str) -> None:
    assert likeness(Verdict(Kind.FAILED, one)) == likeness(Verdict(Kind.FAILED, other))


@pytest.mark.parametrize(
    "other",
    [
        Verdict(Kind.FAILED, "exit code 3: KeyError: 'lr'"),
        Verdict(Kind.FAILED, "exit code 1: KeyError: 'steps'"),
        Verdict(Kind.WRONG_CODE, "exit code 1: KeyError: 'lr'"),
    ],
)
def test_code_cause_and_kind_count(other: Verdict) -> None:
    assert likeness(Verdict(Kind.FAILED, "exit code 1: KeyError: 'lr'")) != likeness(other)


def test_what_was_printed_last_is_no_cause() -> None:
    causes = ("exit code 0, but no success line; last line: a", "exit code 0, but no success line")
    one, other = (likeness(Verdict(Kind.NO_SUCCESS_LINE, cause)) for cause in causes)
    assert one == other


def brakes(*failures: tuple[int, JudgedAttempt], stop_after: int | None = 2) -> list[bool]:
    brake = Brake(stop_after, {"cpu:0"})
    return [brake.failed(task, one, ()) for task, one in failures]


def test_so_many_tasks_not_attempts_must_fail() -> None:
    fails = attempt("exit code 1")
    assert brakes((0, fails), (0, fails), (1, fails)) == [False, False, True]
    assert brakes((0, fails), (1, fails), stop_after=None) == [False, False]
    assert brakes((0, fails), stop_after=1) == [True]


def test_it_is_off_once_one_fails_otherwise() -> None:
    fails = attempt("exit code 1")
    assert not any(brakes((0, fails), (1, attempt("exit code 3")), (2, fails), (3, fails)))


@pytest.mark.parametrize(
    "kind",
    [
        *(Kind.OUT_OF_MEMORY, Kind.DEVICE_ERROR, Kind.TRY_LATER, Kind.DISK_FULL, Kind.TIMEOUT),
        *(Kind.KILLED_BY_KERNEL, Kind.NOT_STARTED, Kind.LOST, Kind.STOPPED),
    ],
)
def test_what_may_be_otherwise_for_others_is_left_out_of_account(kind: Kind) -> None:
    fails, other = attempt("exit code 1"), attempt("too large", kind)
    assert not any(brakes((0, other), (1, other), (2, other)))
    assert brakes((0, fails), (1, other), (2, fails)) == [False, False, True]


def test_failures_of_one_device_wait_for_what_runs_on_others() -> None:
    def fails(device: str) -> JudgedAttempt:
        return attempt("exit code 1", device=device)

    brake = Brake(2)
    assert not brake.failed(0, fails("GPU-a"), {"GPU-b"})
    assert not brake.failed(1, fails("GPU-a"), {"GPU-b"})
    assert brake.failed(2, fails("GPU-b"), {"GPU-a"})
    alone = Brake(2)
    assert not alone.failed(0, fails("GPU-a"), ())
    assert alone.failed(1, fails("GPU-a"), ())
