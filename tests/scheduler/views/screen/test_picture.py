"""The picture of a sweep, in the room that there is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from scheduler.config.loader import read_sweep
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, FAILED, RUNNING, DeviceView, Holder, TaskView
from scheduler.storage.paths import SweepPaths
from scheduler.views.screen.picture import Picture

BEST = {"best": "DeepCache 3/0", "within": True, "speedup": 2.06, "loss": 0.004}
EVENTS = [f"12:00:{n:02} event {n}" for n in range(50)]


def progress_on(devices: int) -> SweepProgress:
    """Return a sweep with a task on half of the devices, two completed, one failed."""
    names = [f"SDXL_DPMSolverMultistep_{n:02}" for n in range(devices)]
    tasks = {
        name: TaskView(RUNNING, 2, (f"d{n}",), started=1000.0) for n, name in enumerate(names[::2])
    }
    tasks |= {"unsure": TaskView(DONE, summary={**BEST, "within": False, "speedup": 9.0})}
    tasks |= {"sure": TaskView(DONE, summary=BEST), "bad": TaskView(FAILED, cause="exit \x1b[2J3")}
    tasks |= {"waits": TaskView()}
    on = {f"d{n}": name for n, name in enumerate(names[::2])}
    seats = {
        f"d{n}": DeviceView("NVIDIA H200", str(n), tasks=[on[f"d{n}"]] if f"d{n}" in on else [])
        for n in reversed(range(devices))
    }
    return SweepProgress(tasks, seats, holder=Holder(1, 1, 0.0))


def drawn(tmp_path: Path, progress: SweepProgress, width: int, height: int | None) -> list[str]:
    (tmp_path / "s.yaml").write_text("matrix: {a: [1]}\nworker: {command: ['true']}\n")
    picture = Picture(read_sweep(tmp_path / "s.yaml"), SweepPaths(tmp_path, "s"))
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(picture.draw(progress, 1010.0, width, height, EVENTS))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("devices", [1, 5, 64])
@pytest.mark.parametrize(("width", "height"), [(60, 15), (80, 24), (200, 60), (30, 6), (500, 200)])
def test_it_never_takes_more_room_than_there_is(
    tmp_path: Path, devices: int, width: int, height: int
) -> None:
    lines = drawn(tmp_path, progress_on(devices), width, height)
    assert len(lines) <= height
    assert all(cell_len(line) <= width and line.isprintable() for line in lines)
    assert lines[0].strip().startswith(("━", "2/")) or "2/" in lines[0]
    assert "event 49" in lines[-1]  # room that is left is filled with events


def test_devices_that_run_something_come_first_and_the_others_are_counted(tmp_path: Path) -> None:
    lines = drawn(tmp_path, progress_on(64), 100, 24)
    rows = [line for line in lines if line.startswith("GPU ")]
    assert all("(attempt 2)" in row for row in rows)
    (more,) = (line for line in lines if line.startswith("… "))
    left = 64 - len(rows)
    assert more == f"… {left} more devices: {32 - len(rows)} run, 32 do not"


def test_the_best_is_one_that_is_sure_of_its_bound(tmp_path: Path) -> None:
    lines = drawn(tmp_path, progress_on(1), 80, 24)
    assert "best so far: DeepCache 3/0 2.06×, loss +0.40% (sure)" in lines
    assert "failed: bad: exit 3" in lines
    progress = progress_on(1)
    progress.keep({"unsure", "waits"})
    assert "nothing sure yet; perhaps DeepCache 3/0 9.00×?, loss +0.40%? (unsure)" in drawn(
        tmp_path, progress, 80, None
    )
