"""A sweep file that was edited and put back costs nothing that was finished."""

from __future__ import annotations

import json
import signal

import pytest

from tests.helpers.sweep_runner import SweepRunner


def test_what_did_not_start_anew_was_never_set_aside(runner: SweepRunner) -> None:
    script = {"a": ["ok", "gate; ok"], "b": "ok", "c": "ok"}
    runner.write(script, devices={"cpu_slots": 1})
    assert runner.run().code == 0
    first = runner.done("a")
    runner.write(script, devices={"cpu_slots": 1}, worker={"env": {"SLEEP": "3"}})
    running = runner.start()
    running.wait_for("3 completed tasks do not hold any more: .*env.SLEEP: – → 3")
    running.wait_for("a: its checkpoint does not hold: .*; kept as a.done.aside, runs again")
    running.wait_for("a: attempt 1 started")
    open_gate = runner.reach_gate("a")
    running.send(signal.SIGTERM)
    running.end()
    assert (runner.starts("a"), runner.starts("b"), runner.starts("c")) == (2, 1, 1)
    assert {"b.done", "c.done"} <= {path.name for path in runner.paths.checkpoints.iterdir()}
    assert runner.states() == {"a": "running", "b": "waiting", "c": "waiting"}
    # What the attempt with the other settings completes is kept as well.
    open_gate()
    runner.wait_for_end_of_attempt("a")
    runner.write(script, devices={"cpu_slots": 1})
    assert set(runner.states().values()) == {"completed"}
    assert (
        "a: its checkpoint, which was set aside, holds again"
        in runner.run(runner.file, "--dry-run").out
    )
    ended = runner.run()
    assert "a: its checkpoint holds again" in ended.out
    assert "3 of 3 completed" in ended.out
    assert runner.starts() == 4
    assert runner.done("a") == first
    runner.write(script, devices={"cpu_slots": 1}, worker={"env": {"SLEEP": "3"}})
    assert runner.states() == {"a": "completed", "b": "waiting", "c": "waiting"}
    assert runner.run().code == 0
    assert runner.starts("a") == 2


def test_an_attempt_for_the_edited_file_is_stopped_before_what_was_completed_counts(
    runner: SweepRunner,
) -> None:
    script = {"a": ["ok", "hang"]}
    runner.write(script)
    runner.run()
    runner.write(script, worker={"args": {"lr": 0.1}})
    running = runner.start()
    runner.wait_for_log("hangs", "a")  # what it is to do it has read, which the next line changes
    running.send(signal.SIGTERM)
    running.end()
    runner.write(script)
    ended = runner.run()
    assert "stopping attempt 1: the sweep file has changed" in ended.out
    assert "a: its checkpoint holds again" in ended.out
    assert "1 of 1 completed" in ended.out
    assert runner.starts() == 2
    assert runner.run().code == 0
    assert runner.starts() == 2


@pytest.mark.parametrize("change", ["the log", "all logs", "the checkpoint"])
def test_what_was_set_aside_counts_only_with_its_proof(runner: SweepRunner, change: str) -> None:
    runner.write({"a": "ok"})
    runner.run()
    runner.write({"a": "print with lr; ok"}, worker={"args": {"lr": 0.1}})
    runner.run()
    if change == "the log":
        with runner.paths.old_log("a", 1).open("a") as log:
            log.write("more\n")
    elif change == "all logs":  # no more than that of a `.done` in place does its absence count
        for log in runner.paths.logs.glob("a.log*"):
            log.unlink()
    else:
        (runner.paths.checkpoints / "a.done.aside").write_text("{}")
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    assert runner.starts() == (2 if change == "all logs" else 3)


def test_back_and_forth_runs_nothing_twice(runner: SweepRunner) -> None:
    for lr in (1, 2, 1, 3, 2, 1, 3):
        runner.write({"a": f"print {lr}; ok", "b": "exit 2"}, worker={"args": {"lr": lr}})
        assert runner.run().code == 1
        assert runner.states() == {"a": "completed", "b": "failed"}
        assert f"{lr}\n" in runner.log("a")
    assert (runner.starts("a"), runner.starts("b")) == (3, 3)


def test_what_was_forgotten_by_force_is_not_taken_again(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "exit 2"})
    runner.run()
    runner.write({"a": "ok", "b": "exit 2"}, worker={"args": {"lr": 1}})
    runner.run()
    runner.write({"a": "ok", "b": "exit 2"})
    assert runner.states() == {"a": "completed", "b": "failed"}
    assert runner.run("retry", runner.file, "--force").out.count("will run again") == 2
    assert set(runner.states().values()) == {"waiting"}
    runner.run()
    assert (runner.starts("a"), runner.starts("b")) == (3, 3)


def test_a_done_that_says_nothing_is_not_blamed_on_the_sweep_file(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    runner.run()
    runner.paths.journal.unlink()
    for content, why in (
        ({}, "it does not say what was run: it has no digest"),
        ({"digest": runner.done("a")["digest"]}, "it does not say which log proved it"),
        ({"digest": "x"}, "the sweep file has changed (what, it does not tell: an earlier version"),
    ):
        runner.paths.done("a").write_text(json.dumps(content))
        for said in (
            runner.run(runner.file, "--dry-run").out,
            runner.status()["tasks"][0]["waits"],
        ):
            assert f"its checkpoint does not hold: {why}" in said


def test_secrets_are_neither_said_nor_kept(runner: SweepRunner) -> None:
    runner.write({"a": "ok"}, worker={"env": {"HF_TOKEN": "hf_one", "MODE": "x"}})
    runner.run()
    runner.write({"a": "ok"}, worker={"env": {"HF_TOKEN": "hf_two", "MODE": "y"}})
    said = runner.run(runner.file, "--dry-run").out
    assert "env.HF_TOKEN: changed, env.MODE: x → y" in said
    kept = [runner.root / name for name in runner.files()]
    for text in (said, *(path.read_text() for path in kept)):
        assert "hf_" not in text


def test_a_back_off_that_is_over_is_not_waited_for(runner: SweepRunner) -> None:
    runner.write({"a": ["exit 75", "ok"]}, retries={"backoff": "1h"})
    running = runner.start()
    running.wait_for("a: will be tried again: waits 1 h 00 min after: try later")
    running.send(signal.SIGTERM)
    running.end()
    runner.write({"a": ["exit 75", "ok"]}, retries={"backoff": "1ms"})
    ended = runner.run()
    assert "a: will be tried again: try later" in ended.out
    assert ended.code == 0


def test_a_done_that_was_removed_is_not_proved_by_another_s_log_of_the_same_words(
    runner: SweepRunner,
) -> None:
    runner.write({"a": "ok"})
    runner.run()
    runner.paths.done("a").unlink()
    runner.write({"a": "ok"}, worker={"args": {"lr": 1}})
    runner.run()
    runner.write({"a": "ok"})
    assert runner.states() == {"a": "waiting"}
    runner.run()
    assert runner.starts() == 3


def test_retry_leaves_a_completed_attempt_to_be_judged(runner: SweepRunner) -> None:
    """Its dispatcher died before it could; another that failed, or whose end nobody saw, is forgotten."""
    runner.write({"a": "gate; ok", "b": "gate; exit 2", "c": "ok"}, devices={"cpu_slots": 2})
    running = runner.start()
    gates = [runner.reach_gate(task) for task in ("a", "b")]
    running.wait_for("b: attempt 1 started")
    running.kill()
    for task, open_gate in zip("ab", gates, strict=True):
        open_gate()
        runner.wait_for_end_of_attempt(task)
    said = runner.run("retry", runner.file).out
    assert "a: nothing to forget: its last attempt was completed; the next run records that" in said
    assert "b: will run again" in said
    runner.script({"b": "ok"})
    assert runner.run().code == 0
    assert (runner.starts("a"), runner.starts("b"), runner.starts("c")) == (1, 2, 1)


def test_retry_keeps_the_trace_of_what_may_still_live(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    start = {"attempt": 1, "device": "cpu:0", "token": "x"}
    verdict = {"attempt": 1, "verdict": "failed", "cause": "…"}
    runner.paths.make_folders()
    file = runner.paths.attempts("a")
    lines = [start, verdict, start | {"attempt": 2, "token": "y"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = runner.run("retry", runner.file).out
    assert said == "a: will run again, when what its last attempt left is ended\n"
    assert [json.loads(line) for line in file.read_text().splitlines()] == lines[2:]
    assert runner.run().code == 0


def test_status_tells_of_the_checkpoint_that_holds_not_of_a_later_one(runner: SweepRunner) -> None:
    def row() -> dict[str, object]:
        [row] = json.loads(runner.run("status", runner.file, "--json").out)["tasks"]
        return {key: row[key] for key in ("state", "attempts", "seconds", "speedup", "cause")}

    first = {"a": 'results {"summary": {"speedup": 1.5}}; ok'}
    runner.write(first)
    assert runner.run().code == 0
    before = row()
    assert before["speedup"] == 1.5
    for later in ('results {"summary": {"speedup": 9}}; ok', "exit 2"):
        runner.write({"a": ["ok", later, later]}, worker={"args": {"lr": len(later)}})
        runner.run()
        assert row() != before
        runner.write(first)
        assert row() == before
