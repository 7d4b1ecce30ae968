"""Workers that outlive their files: no task runs twice at once, whatever becomes of the folder."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable

import pytest

from tests.helpers.sweep_runner import SweepRunner

SAID = "a: still runs from before its files were removed; --no-adopt stops it"


def remove_checkpoints(runner: SweepRunner) -> None:
    shutil.rmtree(runner.root / "checkpoints")


def remove_attempts(runner: SweepRunner) -> None:
    runner.paths.attempts("a").unlink()


def move_checkpoints(runner: SweepRunner) -> None:
    (runner.root / "checkpoints").rename(runner.root / "old")


def link_to_another(runner: SweepRunner) -> None:
    move_checkpoints(runner)
    (runner.root / "elsewhere").mkdir()
    (runner.root / "checkpoints").symlink_to(runner.root / "elsewhere")


@pytest.mark.parametrize(
    "change", [remove_checkpoints, remove_attempts, move_checkpoints, link_to_another]
)
def test_a_worker_without_its_files_is_waited_for(
    runner: SweepRunner, change: Callable[[SweepRunner], None]
) -> None:
    runner.write({"a": ["gate; ok", "ok"]})
    first = runner.start()
    open_gate = runner.reach_gate("a")
    first.kill()
    change(runner)
    assert SAID in runner.run(runner.file, "--dry-run").out
    refused = runner.run("retry", runner.file)
    assert (refused.code, "a: an attempt of it still runs" in refused.err) == (2, True)
    second = runner.start()
    second.wait_for(SAID)
    second.wait_for("still runs on cpu:0; taken over")
    open_gate()
    assert second.end().code == 0
    assert runner.starts("a") == 2
    assert runner.order() == ["start a", "end a", "start a", "end a"]


def test_it_is_stopped_if_that_is_asked_for(runner: SweepRunner) -> None:
    runner.write({"a": ["gate; ok", "ok"]})
    first = runner.start()
    runner.reach_gate("a")
    first.kill()
    remove_checkpoints(runner)
    ended = runner.run(runner.file, "--no-adopt")
    assert (ended.code, SAID in ended.out) == (0, True)
    assert runner.starts("a") == 2


def test_one_whose_supervisor_is_dead_is_ended_first(runner: SweepRunner) -> None:
    runner.write({"a": ["gate; ok", "ok"]})
    first = runner.start()
    runner.reach_gate("a")
    supervisor = runner.attempt("a")["supervisor"]
    first.kill()
    os.kill(supervisor, signal.SIGKILL)
    remove_checkpoints(runner)
    assert runner.run().code == 0
    assert runner.starts("a") == 2


def test_while_the_first_dispatcher_lives_nothing_runs_twice_either(runner: SweepRunner) -> None:
    runner.write({"a": ["gate; ok", "ok"], "b": "ok"}, devices={"cpu_slots": 1})
    first = runner.start()
    open_gate = runner.reach_gate("a")
    remove_checkpoints(runner)
    second = runner.start()
    second.wait_for(SAID)
    second.wait_for("still runs on cpu:0; taken over")
    open_gate()
    assert first.end().code == 3
    assert second.end().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (2, 1)


def test_a_process_of_another_sweep_is_nobody_of_ours(runner: SweepRunner) -> None:
    runner.write({"a": ["gate; ok", "ok"]})
    first = runner.start()
    open_gate = runner.reach_gate("a")
    first.kill()
    other = runner.root / "other"
    planned = runner.run(runner.file, "--dry-run", "--root", other)
    assert "still runs" not in planned.out
    open_gate()
    runner.wait_for_end_of_attempt("a")
