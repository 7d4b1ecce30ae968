"""`tail`: logs of tasks, to their ends and as they grow."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from scheduler.cli.locate import shown
from tests.helpers.sweep_runner import PATIENCE, SweepRunner


def test_tail(runner: SweepRunner) -> None:
    runner.write({"a": "print one; print two; ok", "b": "ok"})
    ended = runner.run("tail", runner.file, "a")
    assert ended.code == 1
    assert "there is no log yet; the task has not been started (-f waits for it)" in ended.err
    runner.run()
    assert runner.run("tail", runner.file, "a").out == "one\ntwo\nSuccessfully completed\n"
    assert runner.run("tail", runner.file, "a", "-n", "2").out == "two\nSuccessfully completed\n"
    assert runner.run("tail", runner.file, "a", "-n", "0").out == ""
    assert runner.run("tail", runner.file, "a", "-n", "99").out == runner.log("a")
    ended = runner.run("tail", runner.file, "a", "-n", "-1")
    assert ended.code == 2
    ended = runner.run("tail", runner.file, "aa")
    assert ended.code == 2
    assert ended.err == "runner has no task 'aa'; did you mean a?\n"


def test_tail_follows_across_attempts(runner: SweepRunner) -> None:
    runner.write({"a": ["print one; gate; exit 1", "print two; gate; ok"]})
    tail = runner.start("tail", runner.file, "a", "-f")  # before there is anything
    running = runner.start()
    tail.wait_for("^one$")
    runner.open_gate("a")
    tail.wait_for("^==> next attempt <==$")
    tail.wait_for("^two$")
    runner.open_gate("a")
    tail.wait_for("^Successfully completed$")
    assert running.end().code == 0
    ended = tail.end()
    assert ended.code == 0
    assert ended.err.endswith("a has completed and no dispatcher runs: nothing follows\n")


@pytest.mark.parametrize(
    ("tasks", "whose"), [(["a"], "the task"), (["a", "b"], "one of these 2 tasks")]
)
def test_tail_says_once_what_it_waits_for(
    runner: SweepRunner, tasks: list[str], whose: str
) -> None:
    runner.write({"a": "gate; print one; ok", "b": "ok"}, devices={"cpu_slots": 1})
    tail = subprocess.Popen(
        [sys.executable, "-m", "scheduler", "tail", runner.file, *tasks, "-f"],
        cwd=runner.root,
        env=runner.environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tail.stderr is not None
    said = f"there is no log yet; waits for {whose} to be started; no dispatcher runs\n"
    assert tail.stderr.readline() == f"{shown(runner.paths.log('a'))}: {said}"
    runner.start()
    runner.reach_gate("a")()
    out, err = tail.communicate(timeout=PATIENCE)
    assert "one" in out
    assert "no log yet" not in err


def test_tail_ends_where_nothing_can_follow(runner: SweepRunner) -> None:
    script = {"a": "print one; ok", "b": "exit 2", "c": "print two; gate; ok"}
    runner.write(script, devices={"cpu_slots": 3})
    running = runner.start()
    running.wait_for("b: failed")
    tail = runner.start("tail", runner.file, "b", "-f")
    open_gate = runner.reach_gate("c")
    waiting = runner.start("tail", runner.file, "c", "-f")
    waiting.wait_for("^two$")
    waiting.send(signal.SIGINT)
    assert waiting.end().code == 130
    open_gate()
    assert running.end().code == 1
    assert (tail.end().code, tail.end().out) == (0, "")
    assert "b has failed and no dispatcher runs" in tail.end().err
    ended = runner.run("tail", runner.file, "a", "-f", "-n", "1")
    assert (ended.code, ended.out) == (0, "Successfully completed\n")
    runner.paths.log("a").unlink()
    assert runner.run("tail", runner.file, "a", "-f").code == 0


def test_tail_follows_attempts_that_are_shorter_than_a_glance(runner: SweepRunner) -> None:
    attempts = [
        "print 1; gate; exit 1",
        *(f"print {n}; exit 1" for n in range(2, 6)),
        "print 6; ok",
    ]
    runner.write({"a": attempts}, retries={"max_attempts": 6})
    before = runner.start("tail", runner.file, "a", "-f")
    running = runner.start()
    open_gate = runner.reach_gate("a")
    amid = runner.start("tail", runner.file, "a", "-f")
    for tail in (before, amid):
        tail.wait_for("^1$")
    open_gate()
    assert running.end().code == 0
    for tail in (before, amid):
        tail.wait_for("^Successfully completed$")
        lines = [line for line in tail.end().out.split() if line.isdecimal()]
        assert lines == ["1", "2", "3", "4", "5", "6"]


def test_tail_of_a_log_that_is_a_folder(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    runner.paths.log("a").mkdir(parents=True)
    ended = runner.run("tail", runner.file, "a")
    assert (ended.code, ended.err) == (
        2,
        f"{runner.paths.log('a')}: is a folder, not a regular file\n",
    )


def test_several_are_followed_each_line_after_its_name(runner: SweepRunner) -> None:
    script = {
        "first": ["print one; gate; exit 1", "print two; ok"],
        "b": "gate; print \x1b[2Jbee; ok",
        "c": "print sea; ok",
    }
    runner.write(script, devices={"cpu_slots": 3})
    tail = runner.start("tail", runner.file, "first", "b", "-f")
    running = runner.start()
    tail.wait_for(r"^first \| one$")
    runner.open_gate("first")
    tail.wait_for("^==> first: next attempt <==$")
    tail.wait_for(r"^first \| two$")
    runner.open_gate("b")
    tail.wait_for(r"^b     \| bee$")
    assert running.end().code == 0
    ended = tail.end()
    assert (ended.code, "sea" in ended.out) == (0, False)
    said = "all of them have ended and no dispatcher runs: nothing follows\n"
    assert ended.err.endswith(said)


def test_the_ends_of_those_that_failed(runner: SweepRunner) -> None:
    script = {
        "a": "print fine; ok",
        "b": "print early; print \x1b[31mlate; exit 3",
        "c": "print gone; exit 4",
    }
    runner.write(script, retries={"max_attempts": 1})
    none = runner.run("tail", runner.file, "--failed")
    assert (none.code, none.out, none.err) == (0, "", "no task has failed\n")
    assert runner.run().code == 1
    runner.paths.log("c").unlink()
    ended = runner.run("tail", runner.file, "--failed", "-n", "1")
    log = runner.paths.log("b")
    assert ended.out.splitlines()[1:2] + ended.out.splitlines()[3:] == ["late", "its log is gone"]
    assert "==> b: failed: exit code 3: " in ended.out
    assert log.name in ended.out
    assert "fine" not in ended.out
    assert "==> c" not in runner.run("tail", runner.file, "b", "--failed").out
