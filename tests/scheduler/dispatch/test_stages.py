"""A task in two stages as people see it: the second attempt is no retry, and its time is that of both."""

from __future__ import annotations

import signal

import pytest

from scheduler.core.verdict import STAGE_DONE_LINE
from scheduler.report.history import read_history
from tests.helpers.sweep_runner import SweepRunner


def shown(runner: SweepRunner) -> tuple[object, ...]:
    """Return what `status --json` says of the one task."""
    (task,) = runner.status()["tasks"]
    return task["state"], task["attempts"], task["timed_stage_attempts"], task["cause"]


def interrupted_at_its_gate(runner: SweepRunner) -> tuple[object, ...]:
    """Run until an attempt is over that stands at its gate; return how it stood there."""
    running = runner.start()
    open_gate = runner.reach_gate("a")
    running.wait_for("a: attempt . started")
    at_the_gate = shown(runner)
    running.send(signal.SIGINT)
    open_gate()
    assert running.end().code == 130
    return at_the_gate


def test_attempts_are_counted_for_each_stage_and_time_is_that_of_both(runner: SweepRunner) -> None:
    script = {"a": [f"gate; print {STAGE_DONE_LINE}", "gate; exit 1", "ok"]}
    runner.write(script, devices={"cpu_slots": 1}, retries={"backoff": "10ms"})

    assert interrupted_at_its_gate(runner) == ("running", 1, None, None)
    assert shown(runner) == ("waiting", 1, 1, None), "a stage that is done is no failure"
    text = runner.run("status", runner.file).out
    assert "1 + 0" in text
    assert "attempt 1 failed" not in text

    assert interrupted_at_its_gate(runner) == ("running", 2, 1, None)
    assert "1 + 1" in runner.run("status", runner.file).out
    assert shown(runner) == ("waiting", 2, 1, "exit code 1: no output")

    assert "1 + 2" in runner.run().out
    assert shown(runner) == ("completed", 3, 1, None)
    done = runner.done("a")
    took = [attempt["ended"] - attempt["started"] for attempt in done["attempts"]]
    assert done["seconds"] == pytest.approx(took[0] + took[2], abs=0.01)
    (failed,) = runner.journal("attempt_failed")
    assert failed["seconds"] == pytest.approx(took[1], abs=0.01), "the stage is not lost with it"
    ran, _ = read_history("runner", runner.paths)
    assert [one.stage for one in ran] == ["timed stage", "untimed stage", "untimed stage"]
