"""Some of a sweep's tasks: what is left out is neither run nor touched, and `status` tells of it."""

from __future__ import annotations

import json

import pytest

from tests.helpers.sweep_runner import SweepRunner

OK = "ok"


def test_what_is_left_out_is_not_run_and_told(runner: SweepRunner) -> None:
    runner.write({"a1": OK, "a2": OK, "b": OK})
    ended = runner.run(runner.file, "--only", "a*")
    assert ended.code == 0, ended.err
    assert "2 tasks (1 left out by --only)" in ended.out
    assert "2 of 2 completed · 1 left out by --only" in ended.out
    assert runner.starts("b") == 0
    status = runner.status()
    assert (status["only"], status["left_out"]) == (["a*"], 1)
    assert status["counts"]["waiting"] == 1
    said = runner.run("status", runner.file).out
    assert "the last run was told --only 'a*': 1 task(s) left out" in said
    assert runner.run().code == 0
    assert (runner.starts("a1"), runner.starts("b")) == (1, 1)
    assert (runner.status()["only"], runner.status()["left_out"]) == ([], 0)


def test_status_while_it_runs(runner: SweepRunner) -> None:
    runner.write({"a": f"gate; {OK}", "b": OK})
    running = runner.start(runner.file, "--only", "case=a")
    release = runner.reach_gate("a")
    status = runner.status()
    assert [(t["task"], t["left_out"], t["waits"]) for t in status["tasks"]] == [
        ("a", False, None),
        ("b", True, "left out by --only"),
    ]
    assert (
        "the dispatcher was told --only case=a: 1 task(s)" in runner.run("status", runner.file).out
    )
    release()
    assert running.end().code == 0


def test_what_does_not_hold_of_tasks_left_out_stays(runner: SweepRunner) -> None:
    runner.write({"a": OK, "b": OK, "c": "exit 2"}, retries={"max_attempts": 1})
    assert runner.run().code == 1
    runner.write({"a": OK, "b": OK, "c": OK}, worker={"args": {"x": 1}})
    before = set(runner.files())
    assert runner.run(runner.file, "--only", "a").code == 0
    assert {name for name in before - set(runner.files()) if "/a." not in name} == set()
    assert runner.paths.done("b").exists()
    assert runner.paths.failed("c").exists()
    assert (runner.starts("a"), runner.starts("b"), runner.starts("c")) == (2, 1, 1)


def test_an_attempt_of_a_task_left_out_goes_on(runner: SweepRunner) -> None:
    runner.write({"a": OK, "b": f"gate; {OK}"}, devices={"cpu_slots": 2})
    first = runner.start(runner.file, "--only", "b")
    release = runner.reach_gate("b")
    first.kill()
    ended = runner.run(runner.file, "--only", "a")
    assert ended.code == 0
    assert "no longer in the sweep" not in ended.out
    assert "b: still runs, left out by --only; a run that takes it in records its end" in ended.out
    release()
    runner.wait_for_end_of_attempt("b")
    assert runner.run().code == 0
    assert runner.starts("b") == 1


def test_the_plan_and_the_other_commands(runner: SweepRunner) -> None:
    runner.write({"a1": OK, "a2": "exit 2", "b": "exit 2"}, retries={"max_attempts": 1})
    plan = runner.run(runner.file, "--dry-run", "--only", "a1", "--only", "b").out
    assert "runner: 2 tasks (1 left out by --only)" in plan
    assert "  a2 [" not in plan
    assert runner.run().code == 1
    shown = json.loads(runner.run("status", runner.file, "--json", "--only", "a*").out)
    assert ([task["task"] for task in shown["tasks"]], shown["left_out"]) == (["a1", "a2"], 1)
    assert shown["counts"]["failed"] == 1
    assert runner.run("retry", runner.file, "a*").out == "a2: will run again\n"
    assert runner.run("tail", runner.file, "case=b").code == 0
    several = runner.run("tail", runner.file, "a*")
    assert (several.code, several.out) == (0, "a1 | Successfully completed\n")


@pytest.mark.parametrize("words", [["--only", "case=c"], ["--only", "x*"], ["--only", "d=1"]])
@pytest.mark.parametrize("command", [[], ["--dry-run"], ["status"]])
def test_a_choice_that_means_nothing(
    runner: SweepRunner, command: list[str], words: list[str]
) -> None:
    runner.write({"a": OK, "b": OK})
    first = command if command == ["status"] else []
    ended = runner.run(*first, runner.file, *words, *(w for w in command if w not in first))
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert runner.files() == []
