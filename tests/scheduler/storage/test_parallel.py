"""Work shared out over processes: all of it is done, whatever becomes of the helpers."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest

from scheduler.storage import parallel as shares
from scheduler.storage.parallel import fork_map

HERE = os.getpid()


def by_whom(items: Sequence[int]) -> dict[str, str]:
    return {str(item): str(os.getpid()) for item in items}


def dies_elsewhere(items: Sequence[int]) -> dict[str, str]:
    if os.getpid() != HERE:
        os.kill(os.getpid(), signal.SIGKILL)
    return by_whom(items)


def fails_elsewhere(items: Sequence[int]) -> dict[str, str]:
    if os.getpid() != HERE:
        raise KeyboardInterrupt
    return by_whom(items)


@pytest.fixture(autouse=True)
def three_cores_and_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "WORTH_A_PROCESS", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_little_is_done_here(count: int) -> None:
    assert fork_map(by_whom, range(count)) == by_whom(range(count))


@pytest.mark.parametrize("count", [6, 7, 8, 100])
def test_much_is_shared_out(count: int) -> None:
    found = fork_map(by_whom, range(count))
    assert found.keys() == {str(number) for number in range(count)}
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("work", [dies_elsewhere, fails_elsewhere])
def test_what_a_helper_does_not_answer_is_done_here(work: object) -> None:
    assert fork_map(work, range(9)) == by_whom(range(9))  # type: ignore[arg-type]
