"""When what runs on lent devices is stopped, and from when on nothing more is started."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.core.events import TimeShort
from scheduler.executors.allocation import lent
from scheduler.executors.allocation.lent import MARGIN, LentExecutor, time_to_start
from scheduler.executors.base import Executor
from tests.scheduler.executors.setups import Driver, LocalSetup

HOUR = 3600.0


@pytest.mark.parametrize(
    ("took", "keeps_rows", "seconds"),
    [
        # Nothing is known.
        ([], False, lent.LEAST),
        ([1.0, 2.0, 3.0], False, lent.LEAST),
        ([60.0, 100.0, 900.0], False, 100.0),
        ([HOUR], True, lent.WORTH_BEGINNING),
        # It would never be tried.
        ([9 * HOUR], False, 4 * HOUR),
    ],
)
def test_a_start_is_sensible_if_it_can_end_or_come_to_something(
    took: list[float], keeps_rows: bool, seconds: float
) -> None:
    assert time_to_start(took, keeps_rows=keeps_rows, whole=8 * HOUR) == seconds


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalSetup:
    monkeypatch.setenv("SCHEDULER_LEASES", "set by the setup")
    return LocalSetup(tmp_path)


@pytest.fixture
def drivers() -> Iterator[list[Driver]]:
    drivers: list[Driver] = []
    yield drivers
    for driver in drivers:
        driver.executor.close()


def test_all_that_an_executor_does_is_done_by_the_one_within() -> None:
    public = {name for name in vars(Executor) if not name.startswith("_")}
    assert public <= vars(LentExecutor).keys()


def test_first_nothing_is_started_then_what_runs_is_stopped(
    setup: LocalSetup, drivers: list[Driver]
) -> None:
    end = time.time() + MARGIN + 1.0
    driver = Driver(LentExecutor(setup.executor(), 7, end, lambda: 0.8))
    drivers.append(driver)
    assert driver.until(TimeShort) == TimeShort("the time of Slurm's job 7 is nearly over")
    assert time.time() >= end - MARGIN - 0.8
    assert driver.until(TimeShort) == TimeShort("the time of Slurm's job 7 is over", stop=True)
    assert time.time() >= end - MARGIN
    assert driver.executor.deadline() is None
    assert [event for event in driver.seen if isinstance(event, TimeShort)][2:] == []
