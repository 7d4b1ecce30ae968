"""Whom it tells, of what, how often; and that no command of `notify` does harm."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from tests.helpers.sweep_runner import PATIENCE, SweepRunner

# Writes what it got as one line, also which descriptors it has.
TELL = """\
import json, os, sys
facts = {k: v for k, v in os.environ.items() if k.startswith("SWEEP_") or k == "MY_WORD"}
facts["fds"] = sorted(set(os.listdir("/proc/self/fd")) - {"3"})
facts["words"] = sys.argv[2:]
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(facts) + "\\n")
"""


@pytest.fixture
def tell(runner: SweepRunner) -> list[str]:
    """A command that writes down what it was told."""
    (runner.folder / "tell.py").write_text(TELL)
    return ["python", "tell.py", "told"]


def told(runner: SweepRunner) -> list[dict[str, Any]]:
    path = runner.folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def events(runner: SweepRunner) -> list[str]:
    return [facts["SWEEP_EVENT"] for facts in told(runner)]


def wait_until_told(runner: SweepRunner, event: str) -> None:
    patience = time.monotonic() + PATIENCE
    while event not in events(runner):
        assert time.monotonic() < patience, f"nobody was told {event!r}"
        time.sleep(0.01)


def test_counts_paths_and_reason_are_in_the_environment(
    runner: SweepRunner, tell: list[str]
) -> None:
    runner.write(
        {"good": "ok", "bad": "exit 2"}, notify={"command": [*tell, "{good} $HOME", "$(date)"]}
    )
    assert runner.run(MY_WORD="kept").code == 1
    failed, finished = told(runner)
    assert failed["SWEEP_EVENT"] == "failed"
    assert failed["SWEEP_TASK"] == "bad"
    assert failed["SWEEP_REASON"].startswith("bad: exit code 2")
    assert failed["SWEEP_EXIT_CODE"] == ""
    assert finished == {
        "SWEEP_EVENT": "finished",
        "SWEEP_NAME": "runner",
        "SWEEP_FILE": str(runner.file),
        "SWEEP_CHECKPOINTS": str(runner.paths.checkpoints),
        "SWEEP_LOGS": str(runner.paths.logs),
        "SWEEP_REASON": "1 of 2 tasks completed, 1 failed",
        "SWEEP_TASK": "",
        "SWEEP_EXIT_CODE": "1",
        "SWEEP_TASKS": "2",
        "SWEEP_DONE": "1",
        "SWEEP_FAILED": "1",
        "SWEEP_RUNNING": "0",
        "SWEEP_WAITING": "0",
        "MY_WORD": "kept",
        "fds": ["0", "1", "2"],
        "words": ["{good} $HOME", "$(date)"],
    }


def test_only_what_was_asked_for_and_the_first_failure_is_told(
    runner: SweepRunner, tell: list[str]
) -> None:
    runner.write({"a": "exit 2", "b": "exit 2"}, notify={"command": tell, "on": ["failed"]})
    assert runner.run().code == 1
    assert events(runner) == ["failed"]


def test_an_end_is_told_once_until_there_is_another(runner: SweepRunner, tell: list[str]) -> None:
    runner.write({"a": ["exit 2", "ok"], "b": "ok"}, notify={"command": tell})
    assert runner.run().code == 1
    assert runner.run().code == 1
    assert events(runner) == ["failed", "finished"]
    runner.run("retry", runner.file)
    assert runner.run().code == 0
    assert runner.run().code == 0
    assert events(runner) == ["failed", "finished", "finished"]
    assert told(runner)[-1]["SWEEP_EXIT_CODE"] == "0"


def test_what_a_killed_dispatcher_has_told_is_not_told_again(
    runner: SweepRunner, tell: list[str]
) -> None:
    runner.write({"bad": "exit 2", "slow": "gate; exit 2"}, notify={"command": tell})
    running = runner.start()
    open_gate = runner.reach_gate("slow")
    wait_until_told(runner, "failed")
    running.kill()
    running = runner.start()
    running.wait_for("still runs on")
    open_gate()
    assert running.end().code == 1
    assert events(runner) == ["failed", "finished"]


def test_an_end_that_a_killed_dispatcher_did_not_tell_is_told_by_the_next(
    runner: SweepRunner, tell: list[str]
) -> None:
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    runner.write({"a": "ok"}, notify={"command": tell})
    assert runner.run().code == 0
    assert events(runner) == ["finished"]
    assert runner.starts("a") == 1


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["python", "-c", "raise SystemExit(3)"], "ended with exit code 3"),
        (["python", "-c", "import os; os.kill(os.getpid(), 9)"], "was killed by signal 9"),
        (["./gone"], "cannot be started: there is no program './gone'"),
        (["./no_format"], "cannot be started: Exec format error"),
        (["yes"], "was ended: it printed more than 1 MiB"),
        (["sleep", "1000"], "was ended: it ran for more than 0.3 s (notify.timeout)"),
        (["sh", "-c", "sleep 1000 &"], "was ended: it ran for more than 0.3 s (notify.timeout)"),
    ],
)
def test_a_notification_that_does_not_work_fails_nothing(
    runner: SweepRunner, command: list[str], why: str
) -> None:
    broken = runner.folder / "no_format"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    timeout = "300ms" if "sleep" in str(command) else "1m"
    runner.write({"a": "ok"}, notify={"command": command, "timeout": timeout})
    ended = runner.run()
    assert ended.code == 0
    assert f"notify.command (finished) {why}" in ended.out
    assert runner.paths.done("a").exists()


def test_what_it_prints_is_kept_within_bounds(runner: SweepRunner) -> None:
    runner.write({"a": "ok"}, notify={"command": ["yes", "y" * 99], "timeout": "1m"})
    log = runner.paths.notify_log
    for _ in range(3):
        assert runner.run().code == 0
        runner.paths.done("a").unlink()
    assert log.stat().st_size == 3 << 20
    os.truncate(log, 5 << 20)
    assert runner.run().code == 0
    assert log.stat().st_size == 1 << 20


def test_a_hanging_one_holds_up_no_task(runner: SweepRunner) -> None:
    notify = {"command": ["sleep", "1000"], "timeout": "5m"}
    runner.write({"bad": "exit 2", "good": "ok", "last": "gate; ok"}, notify=notify)
    running = runner.start()
    running.wait_for("good: completed")
    runner.open_gate("last")
    running.wait_for("last: completed")
    running.send(signal.SIGINT)  # for it is waited for
    ended = running.end()
    assert "was ended, since the dispatcher was told to leave" in ended.out


def test_a_missing_program_is_told_of_before_anything_starts(runner: SweepRunner) -> None:
    runner.write({"a": "ok"}, notify={"command": ["./gone", "x"]})
    said = "notify.command: there is no program './gone'; nobody would be told"
    tried = runner.run(runner.file, "--dry-run")
    assert tried.code == 2
    assert said in tried.err
    ran = runner.run()
    assert ran.code == 0
    assert said in ran.err


def test_a_notify_section_changes_no_completion(runner: SweepRunner, tell: list[str]) -> None:
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    runner.write({"a": "ok"}, notify={"command": tell, "on": ["paused"]})
    assert runner.run().code == 0
    assert runner.starts("a") == 1
