"""`--dry-run` says how much is ahead, and for how long, with the basis."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.cli.main import main
from scheduler.cli.measured.ahead import _time
from scheduler.config.loader import read_sweep
from tests.helpers.sweep_runner import SweepRunner

TINY = {
    "matrix": {"pipe": ["TINY_SD15"], "sched": ["DDIM"], "steps": [4, 8]},
    "worker": {"args": {"num_samples": 4, "batch_size": 2}},
    "devices": {"cpu_slots": 1},
    "search": {"timing": {"repeats": 3, "warmup": 1}},
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(json.dumps(TINY))
    return tmp_path


def test_without_a_completed_task_the_time_is_not_known(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tiny.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    ((images, calls),) = re.findall(
        r"2 task\(s\) that wait: at least (\d+) images, (\d+) calls of", out
    )
    assert main(["tiny.yaml", "--dry-run", "--only", "steps=8"]) == 0
    ((again, of_these),) = re.findall(
        r"at least (\d+) images, (\d+) calls of", capsys.readouterr().out
    )
    assert (2 * int(again), int(calls)) == (int(images), int(of_these) * 3 / 2)
    assert "time ahead: not known: no task of this sweep is completed yet" in out
    assert not (tiny / "checkpoints").exists()


def test_of_a_worker_that_counts_nothing_the_time_goes_by_like_tasks(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "ok"})
    runner.run(runner.file, "--only", "a")
    out = runner.run(runner.file, "--dry-run").out
    assert "ahead: 1 task(s) that wait\n" in out
    assert re.search(
        r"time ahead: about \S+ hours of a CPU slot \(.+ on one device\), by the values of their axes, "
        r"from what 1 completed task\(s\) of this sweep took",
        out,
    )
    runner.run()
    assert "ahead" not in runner.run(runner.file, "--dry-run").out


@pytest.mark.parametrize(
    ("done", "hours"), [({0: 3600.0}, "2 GPU-hours"), ({0: 7200.0}, "4 GPU-hours")]
)
def test_time_goes_with_the_work_of_tasks_that_the_worker_tells(
    tiny: Path, done: dict[int, float], hours: str
) -> None:
    sweep = replace(read_sweep(Path("tiny.yaml")), runs_on="GPU")
    work = {
        task.id: ({"images": 1}, 10.0 * (1 + number)) for number, task in enumerate(sweep.tasks)
    }
    said = _time(sweep, sweep.tasks[1:], work, done)
    assert said.startswith(f"about {hours} (")
    assert "by the work of each, from what 1 completed task(s)" in said
