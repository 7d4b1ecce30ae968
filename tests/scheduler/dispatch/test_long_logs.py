"""Logs that take long to read: nobody waits for them."""

from __future__ import annotations

import json
import signal

import pytest

from tests.helpers.sweep_runner import Running, SweepRunner

ENDLESS = 2**42  # bytes; their zeros take hours to read and no room on the disk
UNLIMITED = {"log": "none"}


def leave(running: Running, number: signal.Signals) -> None:
    """Have the dispatcher leave: by one signal, or by Ctrl-C as often as it takes."""
    for _ in range(3 if number == signal.SIGINT else 1):
        running.send(number)
    assert running.end().code == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_log_that_takes_long_holds_up_nobody(runner: SweepRunner, number: signal.Signals) -> None:
    script = {"long": f"stretch {ENDLESS}; ok", "flaky": ["exit 1", "ok"], "b": "ok"}
    runner.write(script, devices={"cpu_slots": 1}, limits=UNLIMITED)
    running = runner.start()
    for _ in ("flaky", "b"):
        running.wait_for("(flaky|b): completed")
    assert not runner.paths.done("long").exists()
    leave(running, number)
    runner.paths.log("long").write_text("Successfully completed\n")
    assert runner.run().code == 0  # judged by the next dispatcher, not run again
    assert (runner.starts("long"), runner.starts("flaky")) == (1, 2)


def test_one_that_was_judged_before_is_read_apart_as_well(runner: SweepRunner) -> None:
    script = {"long": f"stretch {ENDLESS}; exit 1", "b": "ok"}
    runner.write(script, devices={"cpu_slots": 1}, retries={"max_attempts": 1}, limits=UNLIMITED)
    running = runner.start()
    running.wait_for("b: completed")
    leave(running, signal.SIGTERM)
    verdict = {"attempt": 1, "verdict": "failed", "cause": "exit code 1"}
    with runner.paths.attempts("long").open("a") as file:
        file.write(json.dumps(verdict) + "\n")
    running = runner.start()
    running.wait_for("2 tasks|resum|slot")
    leave(running, signal.SIGTERM)
    assert not runner.paths.failed("long").exists()


@pytest.mark.parametrize("what", ["log", "results file"])
def test_an_attempt_that_writes_without_end_is_ended_and_charged(
    runner: SweepRunner, what: str
) -> None:
    writes = {"log": "stretch 3000000", "results file": "results " + "x" * 3_000_000}[what]
    script = {"a": f"{writes}; hang", "b": "ok"}
    runner.write(script, limits={"log": "2MB"}, retries={"max_attempts": 2})
    ended = runner.run()
    assert ended.code == 1
    assert runner.starts("a") == 2
    assert f"too much output: its {what} has grown to " in ended.out
    assert runner.failed("a")["attempts"][0]["verdict"] == "too much output"
