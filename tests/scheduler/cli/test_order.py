"""The order in which a sweep's tasks are started, as its file asks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import main
from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.matrix.shuffle import shuffled
from scheduler.config.sweep import Order
from tests.helpers.sweep_runner import SweepRunner

TASKS = [f"t{n}" for n in range(6)]


def started(runner: SweepRunner) -> list[str]:
    return [entry["task"] for entry in runner.logged("start")]


def test_a_random_order_is_kept_by_a_resume(runner: SweepRunner) -> None:
    script: dict[str, str | list[str]] = dict.fromkeys(TASKS, "ok")
    runner.write(script, order="random", devices={"cpu_slots": 1})
    assert "order: random, drawn at the first run" in runner.run(runner.file, "--dry-run").out
    assert runner.run(runner.file, "--only", "t[012]").code == 0
    seed = json.loads(runner.paths.record.read_text())["seed"]
    plan = runner.run(runner.file, "--dry-run").out
    assert f"order: random, seed {seed}" in plan
    assert runner.run().code == 0
    order = shuffled(TASKS, seed)
    first, rest = order[:0], order[:0]
    for task in order:
        (first if task in TASKS[:3] else rest).append(task)
    assert started(runner) == first + rest
    assert json.loads(runner.paths.record.read_text())["seed"] == seed
    runner.write(script, order={"random": 7}, devices={"cpu_slots": 1})
    assert "order: random, seed 7" in runner.run(runner.file, "--dry-run").out


def test_the_longest_first_by_what_is_on_file(runner: SweepRunner) -> None:
    sections: dict[str, Any] = {
        "matrix": {"case": ["a", "b"], "n": [1, 2, 3]},
        "name": {"sweep": "runner", "task": "{case}{n}"},
        "order": "longest first",
        "devices": {"cpu_slots": 1},
    }
    runner.write({f"{case}{n}": "ok" for case in "ab" for n in (1, 2, 3)}, **sections)
    content = json.loads(json.dumps({"worker": {"command": runner.command()}, **sections}))
    runner.file.write_text(json.dumps(content))
    assert runner.run(runner.file, "--only", "n=1").code == 0
    for task, seconds in (("a1", 1.0), ("b1", 60.0)):
        done = runner.done(task)
        runner.paths.done(task).write_text(json.dumps(done | {"seconds": seconds}))
    plan = runner.run(runner.file, "--dry-run").out
    lines = [line.split()[0] for line in plan.splitlines() if line.startswith(("  a", "  b"))]
    assert lines == ["b1", "b2", "b3", "a1", "a2", "a3"]
    assert runner.run().code == 0
    # What b2 and b3 take decides between a2 and a3.
    assert started(runner)[2:4] == ["b2", "b3"]
    assert set(started(runner)[4:]) == {"a2", "a3"}


def test_the_longest_first_by_what_the_worker_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = {
        "matrix": {"pipe": ["TINY_SD15"], "sched": ["DDIM"], "steps": [4, 16, 8]},
        "worker": {"args": {"num_samples": 4, "batch_size": 2}},
        "devices": {"cpu_slots": 1},
        "order": "longest first",
    }
    (tmp_path / "tiny.yaml").write_text(json.dumps(sweep))
    assert main(["tiny.yaml", "--dry-run"]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "  TINY" in line]
    assert [line.rpartition("_")[2] for line in lines] == ["16", "8", "4"]


@pytest.mark.parametrize(
    ("written", "order"),
    [
        ("axes", None),
        ("random", Order("random")),
        ("{random: 3}", Order("random", 3)),
        ("longest first", Order("longest first")),
    ],
)
def test_orders(tmp_path: Path, written: str, order: Order | None) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"matrix: {{x: [1]}}\norder: {written}\n")
    assert read_sweep(path).order == order


@pytest.mark.parametrize(
    "written", ["shortest", "{random: x}", "{random: true}", "[a]", "3", "{a: 1}"]
)
def test_what_is_no_order(tmp_path: Path, written: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"matrix: {{x: [1]}}\norder: {written}\n")
    with pytest.raises(SweepError) as caught:
        read_sweep(path)
    (only,) = caught.value.problems
    assert only.startswith(
        "order: must be axes, longest first, random, or {random: 7} with a number"
    )
