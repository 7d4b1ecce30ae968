"""A mistake that all tasks share is run a few times, not three times for each of them."""

from __future__ import annotations

import pytest

from tests.helpers.sweep_runner import SweepRunner

# Of each task another last line.
MISTAKE = "print Traceback (most recent call last):; print KeyError: lr {}; exit 1"
CAUSE = "exit code 1: KeyError: lr "


def broken(count: int) -> dict[str, str | list[str]]:
    return {f"t{n}": MISTAKE.format(n) for n in range(count)}


def test_the_sweep_stops_says_the_cause_once_and_goes_on_later(runner: SweepRunner) -> None:
    runner.write(broken(20), retries={"backoff": "1h"})
    stopped = runner.run()
    assert stopped.code == 1
    assert "stops: the first 10 tasks all failed alike, and none was completed" in stopped.out
    assert 10 <= runner.starts() <= 12  # a slot has its next attempt before the last one is judged
    assert not runner.journal("failed")
    assert set(runner.states().values()) == {"waiting"}
    [event] = runner.journal("braked")
    assert CAUSE in event["why"]
    status = runner.status()
    assert status["braked"] == event["why"]
    assert "the last run stopped: the first 10 tasks" in runner.run("status", runner.file).out

    runner.script({f"t{n}": "ok" for n in range(20)})
    runner.write({f"t{n}": "ok" for n in range(20)})
    again = runner.run()
    assert again.code == 0, again.out
    assert f"goes on; the last run stopped: {event['why']}" in again.out
    assert runner.status()["braked"] is None


def test_what_runs_may_end(runner: SweepRunner) -> None:
    runner.write({"slow": "gate; ok", **broken(5)}, retries={"backoff": "1h", "stop_after": 2})
    running = runner.start()
    running.wait_for("stops: the first 2 tasks all failed alike")
    runner.open_gate("slow")
    assert running.end().code == 1
    assert runner.paths.done("slow").exists()
    assert runner.starts("t4") == 0


@pytest.mark.parametrize(
    ("script", "retries"),
    [
        ({"good": "ok", **broken(4)}, {"stop_after": 2}),
        (broken(4), {"stop_after": "none"}),
        ({**broken(1), "other": "exit 3", **broken(4)}, {"stop_after": 3}),
    ],
)
def test_it_does_not_stop(
    runner: SweepRunner, script: dict[str, str | list[str]], retries: dict[str, object]
) -> None:
    runner.write(script, retries={"max_attempts": 1, **retries}, devices={"cpu_slots": 1})
    assert runner.run().code == 1
    assert set(runner.states().values()) <= {"failed", "completed"}
    assert not runner.journal("braked")


def test_what_is_no_number_of_tasks_is_refused(runner: SweepRunner) -> None:
    for value in (0, "ten", True, 1.5):
        runner.write({"a": "ok"}, retries={"stop_after": value})
        ended = runner.run()
        assert ended.code == 2
        assert "retries.stop_after: must be how many tasks (at least 1), or none" in ended.err
