"""What `status` says while files and dispatchers change under it: never anything that is not so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.views.running_sweep import CHANGED, NEW, REMOVED, full_disk
from tests.helpers.sweep_runner import AT_REST, SweepRunner

SLOTS = {"devices": {"cpu_slots": 1}}


def notes(runner: SweepRunner) -> dict[str, str]:
    return {task["task"]: task["note"] for task in runner.status()["tasks"] if task["note"]}


# --- the file changes under a dispatcher ---------------------------------------------------------


def test_a_file_that_changed_under_its_dispatcher(runner: SweepRunner) -> None:
    """A task is new, one changed while it runs, one was removed while it waits, one is as it was."""
    runner.write({"done": "ok", "a": "gate; ok", "b": "ok", "gone": "ok"}, **SLOTS)
    running = runner.start()
    open_gate = runner.reach_gate("a")
    runner.wait_for_journal("attempt_started", "a")
    assert runner.status()["file_changed"] is False
    runner.write_text(runner.file.read_text().replace("- gone\n", "- new\n"))
    status = runner.status()
    assert status["file_changed"] is True
    assert status["file_changes"] == {"new": 1, "changed": 0, "no longer in it": 1}
    assert notes(runner) == {"new": NEW, "gone": REMOVED}
    assert runner.states() == {
        "done": "completed", "a": "running", "b": "waiting", "new": "waiting", "gone": "waiting"
    }  # fmt: skip
    runner.write_text(runner.file.read_text() + "limits: {timeout: 1h}\nsearch: {x: 1}\n")
    assert notes(runner) == {
        "done": CHANGED, "a": CHANGED, "b": CHANGED, "new": NEW, "gone": REMOVED
    }  # fmt: skip
    said = runner.run("status", runner.file).out
    assert "the file has changed since the dispatcher read it: " in said
    assert "1 new, 3 changed, 1 no longer in it; `reload` has it read the file again" in said
    open_gate()
    assert running.end().code == 0


def test_a_setting_that_no_task_depends_on_is_a_change_too(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok"})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    text = runner.file.read_text()
    runner.write_text(text + "# a remark\n")
    assert runner.status()["file_changed"] is False
    runner.write_text(text + "limits: {timeout: 1h}\n")
    assert runner.status()["file_changed"] is True
    assert notes(runner) == {}
    open_gate()
    running.end()


def test_tasks_that_left_the_file_are_counted(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "ok", "c": "exit 2"})
    assert runner.run().code == 1
    runner.write({"a": "ok"})
    assert runner.status()["left_the_file"] == ["b", "c"]
    assert (
        "2 task(s) with files here are not in the sweep file any more: b, c"
        in runner.run("status", runner.file).out
    )


def test_an_attempt_of_a_task_that_left_the_file_is_shown(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok"})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    runner.wait_for_journal("attempt_started", "a")
    running.kill()
    runner.write({"b": "ok"})
    assert runner.status()["left_running"] == ["a"]
    open_gate()
    runner.wait_for_end_of_attempt("a")
    assert runner.status()["left_running"] == []


# --- waiting tasks -------------------------------------------------------------------------------


def with_retry(runner: SweepRunner) -> None:
    runner.run("retry", runner.file, "--force")


def with_an_edit(runner: SweepRunner) -> None:
    runner.write_text(runner.file.read_text() + "search: {x: 1}\n")


@pytest.mark.parametrize("forget", [with_retry, with_an_edit])
def test_a_waiting_task_does_not_show_its_old_result(
    runner: SweepRunner, forget: Callable[[SweepRunner], None]
) -> None:
    summary = json.dumps({"summary": {"speedup": 2.0, "loss": 0.01}})
    runner.write({"a": f"results {summary}; ok"})
    assert "2.00×" in runner.run().out
    forget(runner)
    task = runner.status()["tasks"][0]
    for key in ("device", "started", "seconds", "speedup", "loss"):
        assert task[key] is None
    row = next(r for r in runner.run("status", runner.file).out.splitlines() if r.startswith("a "))
    assert "2.00×" not in row
    assert "cpu:0" not in row


def test_a_waiting_task_says_why_its_last_attempt_failed(runner: SweepRunner) -> None:
    runner.write({"a": "print no such model; exit 3", "b": "gate; ok"}, retries={"backoff": "1h"})
    running = runner.start()
    open_gate = runner.reach_gate("b")
    runner.wait_for_journal("waits", "a")
    running.send(signal.SIGTERM)
    running.end()
    for _ in range(2):
        task = runner.status()["tasks"][0]
        assert (task["state"], task["attempts"]) == ("waiting", 1)
        assert "no such model" in task["cause"]
        assert "attempt 1 failed: " in runner.run("status", runner.file).out
        runner.paths.journal.unlink(missing_ok=True)
    open_gate()
    runner.wait_for_end_of_attempt("b")
    runner.run("retry", runner.file, "a")
    task = runner.status()["tasks"][0]
    assert (task["attempts"], task["cause"]) == (0, None)


def test_failed_tasks_are_not_counted_among_the_completed(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "exit 2", "c": "exit 2"})
    runner.run()
    assert (
        "1/3 completed · 0 running · 0 waiting · 2 failed" in runner.run("status", runner.file).out
    )


# --- whether a dispatcher runs -------------------------------------------------------------------


def without_a_journal(runner: SweepRunner) -> None:
    runner.paths.journal.unlink()


def with_a_journal_cut_off(runner: SweepRunner) -> None:
    os.truncate(runner.paths.journal, 0)


def with_a_journal_that_says_it_ended(runner: SweepRunner) -> None:
    with runner.paths.journal.open("a") as journal:
        journal.write(
            '{"at": 1.0, "event": "dispatcher_ended", "exit_code": 0, "left_running": []}\n'
        )


def without_a_lock_file(runner: SweepRunner) -> None:
    runner.paths.lock.unlink()


def with_an_unsigned_lock(runner: SweepRunner) -> None:
    """As a dispatcher of version 0.1.0 has it, or one without room for its name."""
    os.truncate(runner.paths.lock, 0)


@pytest.mark.parametrize(
    "damage",
    [
        *(without_a_journal, with_a_journal_cut_off, with_a_journal_that_says_it_ended),
        *(without_a_lock_file, with_an_unsigned_lock),
    ],
)
def test_a_dispatcher_that_runs_is_seen(
    runner: SweepRunner, damage: Callable[[SweepRunner], None]
) -> None:
    runner.write({"a": "gate; ok", "b": "ok"}, **SLOTS)
    running = runner.start()
    open_gate = runner.reach_gate("a")
    runner.wait_for_journal("attempt_started", "a")
    damage(runner)
    status = runner.status()
    assert status["dispatcher"]["pid"] == running.process.pid
    assert [task["state"] for task in status["tasks"]] == ["running", "waiting"]
    open_gate()
    assert running.end().code == 0
    assert runner.status()["dispatcher"] is None


def test_one_that_is_known_by_its_lock_alone_is_seen_too(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok"}, limits=AT_REST)
    running = runner.start()
    open_gate = runner.reach_gate("a")
    running.wait_for("a: attempt 1 started")
    without_a_journal(runner)
    with_an_unsigned_lock(runner)
    assert runner.status()["dispatcher"] == {"pid": None, "since": None}
    assert "a dispatcher runs (which process it is" in runner.run("status", runner.file).out
    open_gate()
    running.end()


def test_one_whose_journal_says_that_it_runs_is_not_seen_when_it_is_dead(
    runner: SweepRunner,
) -> None:
    """Also where its process id is a living process's, as after a restart of the machine."""
    runner.write({"a": "ok"})
    assert runner.run().code == 0
    me = {"pid": os.getpid(), "start_ticks": _start_ticks(), "at": 1.0}
    started = {"event": "dispatcher_started", "tasks": 1, "devices": [], "where": "here", **me}
    runner.paths.journal.write_text(json.dumps(started) + "\n")
    runner.paths.lock.write_text(json.dumps(me) + "\n")
    assert runner.status()["dispatcher"] is None


def _start_ticks() -> int:
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


@pytest.mark.parametrize(
    "content", ["[]", '{"pid": "x"}', '{"pid": 1, "start_ticks": 1, "at": 1e300}']
)
def test_what_a_lock_says_is_not_trusted(runner: SweepRunner, content: str) -> None:
    runner.write({"a": "gate; ok"})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    runner.paths.lock.write_text(content)
    assert runner.run("status", runner.file).code == 0
    assert runner.status()["dispatcher"] is not None
    open_gate()
    running.end()


def test_a_journal_that_was_cut_off_begins_anew_with_all_that_is_known(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "gate; ok", "c": "ok"}, **SLOTS)
    running = runner.start()
    open_gate = runner.reach_gate("a")
    runner.wait_for_journal("attempt_started", "a")
    os.truncate(runner.paths.journal, 0)
    open_gate()
    open_gate = runner.reach_gate("b")
    runner.wait_for_journal("attempt_started", "b")
    assert runner.status()["devices"][0]["task"] == "b"
    open_gate()
    assert running.end().code == 0


def test_a_disk_that_is_full_is_seen_without_a_word_of_the_journal(runner: SweepRunner) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    subprocess.run(
        ["mount", "-o", "size=128k", "-t", "tmpfs", "tmpfs", str(runner.root)], check=True
    )
    try:
        runner.paths.make_folders()
        assert full_disk(runner.paths) is None
        filler = runner.root / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"\0" * 4096)
        runner.write({"a": "ok"})
        running = runner.start()
        running.wait_for("paused: ")
        status = runner.status()
        assert status["dispatcher"] is not None
        assert status["paused"] == f"{runner.paths.checkpoints}: No space left on device"
        running.send(signal.SIGTERM)
        running.end()
        filler.unlink()
        assert runner.run().code == 0
    finally:
        subprocess.run(["umount", "--lazy", str(runner.root)], check=True)


LOOK = """
import sys
from scheduler.cli.main import main
print("looks", flush=True)
sys.stdout = open("/dev/null", "w")
while True:
    main(["status", *sys.argv[1:]])
"""


def test_status_in_a_loop_keeps_no_dispatcher_from_starting(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    words = [sys.executable, "-c", LOOK, str(runner.file), "--root", str(runner.root)]
    with subprocess.Popen(words, env=runner.environment, stdout=subprocess.PIPE) as looker:
        assert looker.stdout is not None
        assert looker.stdout.readline() == b"looks\n"
        for _ in range(5):
            assert runner.run().code == 0
            runner.run("retry", runner.file, "--force")
        assert looker.poll() is None
        looker.kill()
    assert runner.starts("a") == 5
