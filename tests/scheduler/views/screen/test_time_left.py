"""About how long a sweep still takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.config.loader import read_sweep
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, RUNNING, DeviceView, TaskView
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.recovery import recover
from scheduler.storage.paths import SweepPaths
from scheduler.views.from_files import initial_progress
from scheduler.views.screen.time_left import Estimator, TimeLeft

VALUES = {f"{pipe}_{steps}": (pipe, steps) for pipe in ("A", "B") for steps in ("10", "20")}


def done(seconds: float) -> TaskView:
    return TaskView(DONE, seconds=seconds)


def test_nothing_is_known_at_first() -> None:
    progress = SweepProgress({name: TaskView() for name in VALUES})
    assert Estimator(VALUES).left(progress, {}, 0.0) is None


def test_a_task_is_expected_to_take_what_its_pipe_and_its_steps_cost() -> None:
    tasks = {"A_10": done(10), "A_20": done(20), "B_10": done(100), "B_20": TaskView()}
    left = Estimator(VALUES).left(SweepProgress(tasks), {}, 0.0)
    assert left is not None
    assert left.seconds == pytest.approx(100, rel=0.35)  # by far more than the mean, 43
    assert left.basis == "by 3 tasks completed"


def test_what_runs_tells_before_anything_is_completed() -> None:
    tasks = {"A_10": TaskView(RUNNING, started=1000.0), "A_20": TaskView()}
    progress = SweepProgress(tasks, {"g": DeviceView(tasks=["A_10"])})
    left = Estimator(VALUES).left(progress, {"A_10": 0.25}, 1050.0)
    assert left == TimeLeft(pytest.approx(150.0 + 200.0), "by the pace of 1 running")


def test_devices_share_the_work_but_none_ends_before_what_it_runs() -> None:
    tasks = {"A_10": TaskView(RUNNING, started=1000.0), "A_20": TaskView(), "B_10": done(100)}
    devices = {"g": DeviceView(tasks=["A_10"]), "h": DeviceView(idle=True)}
    estimator = Estimator(VALUES)
    left = estimator.left(SweepProgress(tasks, devices), {"A_10": 0.1}, 1100.0)
    assert left is not None
    assert left.seconds == 900.0


def test_a_task_that_is_over_its_time_has_a_little_left() -> None:
    tasks = {"A_10": TaskView(RUNNING, started=1000.0), "A_20": done(100)}
    left = Estimator(VALUES).left(SweepProgress(tasks), {}, 2000.0)
    assert left is not None
    assert 0 < left.seconds < 100


def test_a_task_that_has_two_devices_leaves_room_for_as_many_on_the_others() -> None:
    tasks = {"A_10": TaskView(RUNNING, started=1000.0), "A_20": TaskView(), "B_10": done(10)}
    devices = {name: DeviceView(tasks=["A_10"]) for name in "gh"}
    devices |= {name: DeviceView(idle=True) for name in "ij"}
    left = Estimator(VALUES).left(SweepProgress(tasks, devices), {}, 1000.0)
    assert left is not None
    assert left.seconds == pytest.approx((10.0 + 10.0) / 2, rel=0.3)


WORK = {"A_10": 1.0, "A_20": 2.0, "B_10": 10.0, "B_20": 20.0}


def test_of_a_new_kind_of_task_its_work_tells() -> None:
    """Where the longest go first, bare seconds would have each of the others take as long."""
    tasks = {"A_10": TaskView(), "A_20": TaskView(), "B_20": done(200)}
    progress = SweepProgress(tasks, work=WORK)
    left = Estimator(VALUES).left(progress, {}, 0.0)
    assert left is not None
    assert left.seconds == pytest.approx(10.0 + 20.0)
    assert left.basis == "by 1 task completed, and the work of each"


def test_the_work_of_what_runs_tells_of_the_others_before_anything_is_completed() -> None:
    tasks = {"B_20": TaskView(RUNNING, started=1000.0), "A_10": TaskView()}
    progress = SweepProgress(tasks, {"g": DeviceView(tasks=["B_20"])}, work=WORK)
    left = Estimator(VALUES).left(progress, {"B_20": 0.25}, 1050.0)
    assert left == TimeLeft(
        pytest.approx(150.0 + 10.0), "by the pace of 1 running, and the work of each"
    )


def test_while_a_task_loads_its_work_tells_more_than_its_pace() -> None:
    tasks = {"B_20": TaskView(RUNNING, started=1000.0), "A_10": done(10.0)}
    progress = SweepProgress(tasks, {"g": DeviceView(tasks=["B_20"])}, work=WORK)
    left = Estimator(VALUES).left(progress, {"B_20": 0.02}, 1040.0)  # by its pace it takes 2000 s
    assert left is not None
    assert left.seconds == pytest.approx(0.02 * 2000 + 0.98 * 200 - 40)


def test_a_dispatcher_shows_by_the_work_that_it_orders_by(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("matrix: {p: [a]}\nworker: {command: [x]}\n")
    sweep, paths = read_sweep(tmp_path / "s.yaml"), SweepPaths(tmp_path, "s")
    recovered = replace(recover(sweep, paths, Clock()), work={"a": 3.0})
    assert initial_progress(recovered, paths).work == {"a": 3.0}
