"""Measurements made for other arguments are kept apart, and come back with the sweep file."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from scheduler.config.loader import read_sweep
from tests.helpers.sweep_runner import AT_REST, SweepRunner


def rows(path: Path) -> list[int]:
    return [json.loads(line)["lr"] for line in path.read_text().splitlines()]


def test_rows_of_other_arguments_wait_under_their_digest(runner: SweepRunner) -> None:
    digests = {}
    for lr in (1, 2, 1, 3):
        runner.write({"a": f'results {{"lr": {lr}}}; ok'}, worker={"args": {"lr": lr}})
        assert runner.run().code == 0
        assert rows(runner.paths.results("a")) == [lr]
        digests[lr] = runner.done("a")["digest"]
    assert runner.starts() == 3
    assert [rows(runner.paths.results_of("a", digests[lr])) for lr in (1, 2)] == [[1], [2]]


@pytest.mark.parametrize("forgotten", [False, True])
def test_rows_of_an_attempt_that_failed_are_gone_on_with_under_its_arguments_only(
    runner: SweepRunner, forgotten: bool
) -> None:
    """Also where ``retry`` has removed what told of that attempt."""
    script = {
        "a": ['results {"lr": 1}; exit 2', 'results {"lr": 2}; exit 2', 'results {"lr": 1}; ok']
    }
    for lr in (1, 2, 1):
        runner.write(script, worker={"args": {"lr": lr}})
        if lr == 1 and runner.starts() == 2 and not forgotten:
            runner.run("retry", runner.file)
        runner.run()
        if forgotten:
            runner.run("retry", runner.file)
    assert runner.starts() == 3
    assert rows(runner.paths.results("a")) == [1, 1]


def test_rows_that_cannot_be_put_away_are_once_they_can(runner: SweepRunner) -> None:
    runner.write({"a": 'results {"lr": 1}; ok'}, worker={"args": {"lr": 1}})
    runner.run()
    digest, current = runner.done("a")["digest"], runner.paths.results("a")
    runner.write({"a": 'results {"lr": 2}; ok'}, worker={"args": {"lr": 2}}, limits=AT_REST)
    if subprocess.run(["mount", "--bind", current, current]).returncode:
        pytest.skip("needs to mount a file on itself, so that it cannot be renamed")
    try:
        running = runner.start()
        running.wait_for("paused: .*Device or resource busy")
    finally:
        subprocess.run(["umount", current], check=True)
    assert running.end().code == 0
    assert rows(current) == [2]
    assert rows(runner.paths.results_of("a", digest)) == [1]


def test_a_worker_that_tells_rows_apart_keeps_them_in_one_file(runner: SweepRunner) -> None:
    for lr in (1, 2, 1):
        worker = {"args": {"lr": lr}, "reuses_results": True}
        runner.write({"a": f'results {{"lr": {lr}}}; ok'}, worker=worker)
        runner.run()
    assert rows(runner.paths.results("a")) == [1, 2]


@pytest.mark.parametrize(
    ("worker", "reuses"),
    [
        ("", True),
        ("worker: {command: [/opt/bin/python3, -m, worker, search, '{m}']}", True),
        ("worker: {command: [python, train.py]}", False),
        ("worker: {command: [python, -m, worker, search], reuses_results: false}", False),
    ],
)
def test_whose_rows_are_told_apart(tmp_path: Path, worker: str, reuses: bool) -> None:
    file = tmp_path / "s.yaml"
    matrix = "{pipe: [TINY_SD15], sched: [DDIM], steps: [4]}" if not worker else "{m: [1]}"
    file.write_text(f"matrix: {matrix}\n{worker}\n")
    assert read_sweep(file).reuses_results is reuses


def test_the_worker_is_told_its_digest_and_its_attempt(runner: SweepRunner) -> None:
    runner.write({"a": ["exit 75", "gate; ok"]})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    (spec,) = (
        json.loads(path.read_text()) for path in (runner.paths.checkpoints / ".specs").iterdir()
    )
    open_gate()
    assert running.end().code == 0
    assert (spec["digest"], spec["attempt"]) == (runner.done("a")["digest"], 2)


def test_rows_of_an_attempt_that_was_stopped_half_way_come_back(runner: SweepRunner) -> None:
    script = {
        "a": ['results {"lr": 1}; gate; ok', 'results {"lr": 2}; ok', 'results {"lr": 1}; ok']
    }
    runner.write(script, worker={"args": {"lr": 1}})
    running = runner.start()
    runner.reach_gate("a")
    for number in (signal.SIGINT, signal.SIGINT):
        running.send(number)
        running.wait_for("interrupted|stopping")
    running.end()
    for lr in (2, 1):
        runner.write(script, worker={"args": {"lr": lr}})
        runner.run()
    assert rows(runner.paths.results("a")) == [1, 1]
