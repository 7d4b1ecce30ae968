"""Signals, deaths and what comes after: drained, stopped, left running, taken over, never twice."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from tests.helpers.sweep_runner import AT_REST, SweepRunner


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter: it went while it was read
        return False
    return state not in (b"Z", b"X")  # an orphan that ended stays where process 1 reaps nobody


# --- Ctrl-C --------------------------------------------------------------------------------------


def test_ctrl_c_lets_running_attempts_end_and_starts_nothing(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 1})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    running.send(signal.SIGINT)
    running.wait_for("interrupted: nothing new is started, 1 running")
    open_gate()
    ended = running.end()
    assert ended.code == 130
    assert runner.states() == {"a": "completed", "b": "waiting"}
    assert runner.run().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (1, 1)


def test_ctrl_c_twice_stops_what_runs_and_charges_nothing(runner: SweepRunner) -> None:
    runner.write({"a": ["gate; ok", "ok"]}, retries={"max_attempts": 1})
    running = runner.start()
    runner.reach_gate("a")
    running.send(signal.SIGINT)
    running.wait_for("interrupted")
    running.send(signal.SIGINT)
    ended = running.end()
    assert ended.code == 130
    assert "stopped by the user" in ended.out
    assert not alive(runner.logged("start")[0]["pid"])
    assert not runner.paths.failed("a").exists()
    assert runner.run().code == 0  # though max_attempts is 1


def test_a_third_ctrl_c_leaves_what_does_not_end(runner: SweepRunner) -> None:
    runner.write({"a": "deaf"}, devices={"cpu_slots": 1})
    running = runner.start()
    runner.wait_for_log("hangs", "a")
    for line in ("interrupted", "stopping"):
        running.send(signal.SIGINT)
        running.wait_for(line)
    running.send(signal.SIGINT)
    ended = running.end()
    assert ended.code == 130
    assert (
        "dispatcher leaves; 1 attempt(s) go on and will be taken over by the same comm" in ended.out
    )
    runner.script({"a": "ok"})
    assert runner.run().code == 0
    assert runner.starts("a") == 2


@pytest.mark.parametrize("stopped", ["supervisor", "worker"])
def test_what_somebody_stopped_can_be_ended(runner: SweepRunner, stopped: str) -> None:
    runner.write({"a": ["gate; ok", "ok"]}, devices={"cpu_slots": 1})
    running = runner.start()
    runner.reach_gate("a")
    worker = runner.logged("start")[0]["pid"]
    supervisor = runner.attempt("a")["supervisor"]
    os.kill(supervisor if stopped == "supervisor" else worker, signal.SIGSTOP)
    running.send(signal.SIGINT)
    running.wait_for("interrupted")
    running.send(signal.SIGINT)
    assert running.end().code == 130
    assert not alive(worker)
    assert runner.run().code == 0


@pytest.mark.parametrize("limit", ["timeout", "stall"])
def test_a_limit_ends_an_attempt_whose_supervisor_is_stopped(
    runner: SweepRunner, limit: str
) -> None:
    runner.write({"a": ["gate; ok", "ok"]}, devices={"cpu_slots": 1}, limits={limit: "2s"})
    running = runner.start()
    runner.reach_gate("a")
    os.kill(runner.attempt("a")["supervisor"], signal.SIGSTOP)
    ended = running.end()
    assert (ended.code, f"limits.{limit}" in ended.out) == (0, True)


def test_an_idle_supervisor_that_is_stopped_holds_nobody_up(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "gate; ok"}, devices={"cpu_slots": 2})
    running = runner.start()
    open_b = runner.reach_gate("b")
    open_a = runner.reach_gate("a")
    supervisor = runner.attempt("a")["supervisor"]
    open_a()
    running.wait_for("a: completed")
    with contextlib.suppress(ProcessLookupError):  # it may have gone by itself
        os.kill(supervisor, signal.SIGSTOP)
    open_b()
    assert running.end().code == 0


def test_ctrl_c_while_nothing_runs_ends_at_once(runner: SweepRunner) -> None:
    runner.write({"a": ["exit 75", "ok"]}, retries={"backoff": "1h"})
    running = runner.start()
    running.wait_for("will be tried again")
    running.send(signal.SIGINT)
    assert running.end().code == 130


# --- workers that outlive the dispatcher ---------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_running_attempt_is_taken_over_and_its_exit_known(
    runner: SweepRunner, number: signal.Signals
) -> None:
    runner.write({"a": "gate; ok", "b": ["gate; exit 7", "ok"]})
    first = runner.start()
    gates = [runner.reach_gate("a"), runner.reach_gate("b")]
    first.send(number)
    ended = first.end()
    if number != signal.SIGKILL:
        assert ended.code == 130
        assert "2 attempt(s) go on" in ended.out
    second = runner.start()
    second.wait_for("a: attempt 1 still runs on cpu:0; taken over")
    second.wait_for("b: attempt 1 still runs on cpu:1; taken over")
    for open_gate in gates:
        open_gate()
    second.wait_for("b: attempt 1 on cpu:1: failed: exit code 7")
    assert second.end().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (1, 2)
    assert runner.done("a")["exit_code"] == 0


def test_nohup_keeps_the_dispatcher_as_well(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 1})
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        running = runner.start()
    finally:
        signal.signal(signal.SIGHUP, old)
    open_gate = runner.reach_gate("a")
    running.send(signal.SIGHUP)
    open_gate()
    assert running.end().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (1, 1)


def test_attempts_that_end_while_no_dispatcher_runs_are_judged_by_the_next(
    runner: SweepRunner,
) -> None:
    runner.write({"a": "gate; ok", "b": "gate; exit 2"})
    first = runner.start()
    gates = [runner.reach_gate("a"), runner.reach_gate("b")]
    first.kill()
    for open_gate in gates:
        open_gate()
    runner.wait_for_end_of_attempt("a")
    runner.wait_for_end_of_attempt("b")
    ended = runner.run()
    assert ended.code == 1
    assert runner.states() == {"a": "completed", "b": "failed"}
    assert runner.starts() == 2
    assert runner.failed("b")["cause"].startswith("exit code 2")


def test_an_orphan_keeps_its_device_until_it_ends(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 1})
    first = runner.start()
    open_gate = runner.reach_gate("a")
    first.kill()
    second = runner.start()
    second.wait_for("taken over")
    assert runner.starts("b") == 0
    open_gate()
    assert second.end().code == 0
    assert runner.order() == ["start a", "end a", "start b", "end b"]


def test_no_adopt_stops_what_runs_and_runs_it_anew(runner: SweepRunner) -> None:
    runner.write({"a": ["gate; ok", "ok"]}, retries={"max_attempts": 1})
    first = runner.start()
    runner.reach_gate("a")
    first.kill()
    ended = runner.run(runner.file, "--no-adopt")
    assert ended.code == 0
    assert "not adopted (--no-adopt)" in ended.out
    assert runner.starts("a") == 2


def test_a_timeout_applies_to_an_attempt_taken_over(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok"}, retries={"max_attempts": 1})
    first = runner.start()
    runner.reach_gate("a")
    first.kill()
    runner.write({"a": "gate; ok"}, retries={"max_attempts": 1}, limits={"timeout": "1ms"})
    ended = runner.run()
    assert ended.code == 1
    assert runner.failed("a")["verdict"] == "timeout"
    assert not alive(runner.logged("start")[0]["pid"])


def test_an_attempt_of_another_sweep_file_is_stopped_and_run_anew(runner: SweepRunner) -> None:
    runner.write({"a": ["gate; ok", "ok"]})
    first = runner.start()
    runner.reach_gate("a")
    first.kill()
    runner.write({"a": ["gate; ok", "ok"]}, worker={"args": {"num_samples": 2}})
    ended = runner.run()
    assert ended.code == 0
    assert "the sweep file has changed" in ended.out
    assert [start["argv"] for start in runner.logged("start")] == [[], ["--num-samples", "2"]]


def test_an_attempt_of_a_task_no_longer_in_the_sweep_is_left_alone(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok"})
    first = runner.start()
    open_gate = runner.reach_gate("a")
    first.kill()
    runner.write({"b": "ok"})
    ended = runner.run()
    assert ended.code == 0
    assert "a: still runs, but is no longer in the sweep; left alone" in ended.out
    open_gate()
    runner.wait_for_end_of_attempt("a")
    runner.write({"a": "gate; ok"})
    assert runner.run().code == 0
    assert runner.starts("a") == 1


# --- locks and checkpoints that others remove or bring ------------------------------------------


def test_a_dispatcher_whose_lock_file_was_removed_leaves_the_sweep_to_the_next(
    runner: SweepRunner,
) -> None:
    runner.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 1}, limits=AT_REST)
    first = runner.start()
    open_gate = runner.reach_gate("a")
    first.wait_for("a: attempt 1 started")
    runner.paths.lock.unlink()
    second = runner.start()
    second.wait_for("a: attempt 1 still runs on cpu:0; taken over")
    open_gate()
    ended = first.end()
    assert ended.code == 3
    assert "another dispatcher has the sweep, because its lock file was removed" in ended.out
    assert second.end().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (1, 1)
    assert len(runner.done("a")["attempts"]) == 1


def test_a_dispatcher_that_lost_the_sweep_stops_nothing_of_it(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 1}, limits=AT_REST)
    first = runner.start()
    open_gate = runner.reach_gate("a")
    first.wait_for("a: attempt 1 started")
    runner.paths.lock.unlink()
    second = runner.start()
    second.wait_for("a: attempt 1 still runs on cpu:0; taken over")
    first.send(signal.SIGINT)
    first.wait_for("nothing new is started")
    first.send(signal.SIGINT)
    assert first.end().code == 3
    open_gate()
    assert second.end().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (1, 1)


def test_the_next_has_the_sweep_by_its_own_reading_of_the_file(runner: SweepRunner) -> None:
    script = {"a": ["gate; ok", "ok"], "b": "ok"}
    runner.write(script, devices={"cpu_slots": 1}, limits=AT_REST)
    first = runner.start()
    runner.reach_gate("a")
    first.wait_for("a: attempt 1 started")
    runner.paths.lock.unlink()
    runner.write(script, devices={"cpu_slots": 1}, worker={"args": {"lr": 1}})
    second = runner.start()
    assert (first.end().code, second.end().code) == (3, 0)
    assert (runner.starts("a"), runner.starts("b")) == (2, 1)
    assert runner.states() == {"a": "completed", "b": "completed"}


def test_a_lock_file_that_was_removed_is_made_anew(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "gate; ok"}, devices={"cpu_slots": 1})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    runner.paths.lock.unlink()
    open_gate()
    open_gate = runner.reach_gate("b")
    assert runner.run().code == 3
    open_gate()
    assert running.end().code == 0


@pytest.mark.parametrize("holds", [True, False])
def test_a_checkpoint_that_appears_in_mid_run(runner: SweepRunner, holds: bool) -> None:
    runner.write({"a": "ok", "b": "ok"}, devices={"cpu_slots": 1})
    assert runner.run().code == 0
    content = runner.paths.done("b").read_bytes()
    assert runner.run("retry", runner.file, "--force").code == 0
    runner.script({"a": "gate; ok"})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    runner.paths.done("b").write_bytes(content if holds else content[:40])
    open_gate()
    ended = running.end()
    assert ended.code == 0, ended.out
    assert ("b: its checkpoint does not hold: it is damaged" in ended.out) is not holds
    assert re.search(r"^b +completed", ended.out, re.M)
    assert runner.starts("b") == (1 if holds else 2)
    assert runner.states() == {"a": "completed", "b": "completed"}


# --- supervisors killed ------------------------------------------------------------------------------


def test_a_killed_supervisor_takes_its_worker_along_and_the_task_runs_again(
    runner: SweepRunner,
) -> None:
    runner.write({"a": ["family; gate; ok", "ok"]}, retries={"max_attempts": 1})
    running = runner.start()
    runner.reach_gate("a")
    os.kill(runner.attempt("a")["supervisor"], signal.SIGKILL)
    running.wait_for("a: attempt 1 on cpu:[01]: lost")
    ended = running.end()
    assert ended.code == 0
    assert runner.starts("a") == 2
    assert (
        runner.done("a")["attempts"][0]["verdict"] == "lost"
    )  # and not charged: max_attempts is 1
    pids = [entry["pid"] for what in ("start", "child") for entry in runner.logged(what)]
    assert not [pid for pid in pids if alive(pid)]


def test_supervisor_and_dispatcher_killed_together(runner: SweepRunner) -> None:
    runner.write({"a": ["gate; ok", "ok"]})
    first = runner.start()
    runner.reach_gate("a")
    first.kill()
    os.kill(runner.attempt("a")["supervisor"], signal.SIGKILL)
    ended = runner.run()
    assert ended.code == 0
    assert runner.starts("a") == 2
    assert not alive(runner.logged("start")[0]["pid"])


def test_what_an_attempt_left_is_ended_before_the_next_begins(runner: SweepRunner) -> None:
    """Dispatcher, supervisor and worker are dead; a child of the worker is not, and holds no lock."""
    runner.write({"a": ["helper; gate; ok", "gate; ok"]})
    first = runner.start()
    open_gate = runner.reach_gate("a")
    first.kill()
    os.kill(runner.attempt("a")["supervisor"], signal.SIGKILL)
    os.kill(runner.logged("start")[0]["pid"], signal.SIGKILL)
    runner.wait_for_end_of_attempt("a")
    open_gate()
    child = runner.logged("child")[0]["child"]
    assert alive(child)
    second = runner.start()
    open_gate = runner.reach_gate("a")
    assert not alive(child)
    open_gate()
    assert second.end().code == 0
    assert runner.starts("a") == 2


# --- what workers leave behind -------------------------------------------------------------------


def test_a_worker_s_descendants_are_ended_after_it(runner: SweepRunner) -> None:
    runner.write({"a": "family; ok"})
    assert runner.run().code == 0
    children = runner.logged("child")
    assert len(children) == 4
    assert not [child for child in children if alive(child["pid"])]
    assert runner.done("a")["attempts"][0]["leftovers"] == 4


def test_a_worker_s_descendants_are_stopped_with_it(runner: SweepRunner) -> None:
    runner.write({"a": "family; gate; ok"})
    running = runner.start()
    runner.reach_gate("a")
    running.send(signal.SIGINT)
    running.wait_for("interrupted")
    running.send(signal.SIGINT)
    assert running.end().code == 130
    children = runner.logged("child")
    assert len(children) == 4
    assert not [child for child in children if alive(child["pid"])]


def test_a_checkpoint_put_back_after_a_failed_attempt_stays_as_it_is(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    proof = runner.paths.done("a").read_bytes()
    assert runner.run("retry", runner.file, "--force").code == 0
    runner.write({"a": "exit 1", "b": "gate; ok"}, devices={"cpu_slots": 1})
    running = runner.start()
    running.wait_for("a: will be tried again")
    open_gate = runner.reach_gate("b")  # which got the slot while the failure was judged
    runner.paths.done("a").write_bytes(proof)
    open_gate()
    assert running.end().code == 0
    assert runner.starts("a") == 2
    assert runner.paths.done("a").read_bytes() == proof


def test_an_attempt_that_ended_unseen_is_no_verdict_on_a_corrected_sweep_file(
    runner: SweepRunner,
) -> None:
    runner.write({"a": "gate; exit 2"})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    running.kill()
    open_gate()
    runner.wait_for_end_of_attempt("a")
    runner.write({"a": "ok"}, worker={"env": {"CORRECTED": "yes"}})
    ended = runner.run()
    assert ended.code == 0, ended.out
    assert runner.done("a")["exit_code"] == 0
