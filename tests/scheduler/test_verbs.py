"""status, tail, retry, devices, and the command line itself, as users call them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scheduler.box import REPOSITORY, Box

VERBS = ("run", "status", "tail", "retry", "devices")


# --- status --------------------------------------------------------------------------------------


def test_status_of_a_sweep_that_never_ran(box: Box) -> None:
    box.write({"a": "ok"})
    ended = box.run("status", box.file)
    assert ended.code == 0
    assert "box: no dispatcher runs" in ended.out
    assert "0 of 1 completed" in ended.out
    assert box.files() == []


def test_status_while_a_dispatcher_runs(box: Box) -> None:
    box.write(
        {"a": "gate; ok", "b": "exit 2", "c": "ok"},
        devices={"cpu_slots": 1},
    )
    box.tell({"a": "gate; ok", "b": "exit 2", "c": "ok"})
    running = box.start()
    open_gate = box.reach_gate("a")
    ended = box.run("status", box.file)
    assert f"a dispatcher runs (pid {running.process.pid}, " in ended.out
    status = box.status()
    assert status["dispatcher"]["pid"] == running.process.pid
    assert box.states() == {"a": "running", "b": "waiting", "c": "waiting"}
    assert "all run other tasks" in status["tasks"][1]["waits"]
    assert status["devices"][0]["task"] == "a"
    open_gate()
    assert running.end().code == 1
    status = box.status()
    assert status["dispatcher"] is None
    assert box.states() == {"a": "completed", "b": "failed", "c": "completed"}
    assert status["tasks"][1]["cause"].startswith("exit code 2")
    assert status["counts"]["completed"] == 2
    for figure in ("idle_device_seconds", "lost_device_seconds", "median_gap_seconds"):
        assert status[figure] >= 0


def test_status_says_what_a_backing_off_task_waits_for(box: Box) -> None:
    box.write({"a": "exit 75"}, retries={"backoff": "1h"})
    running = box.start()
    running.wait_for("will be tried again")
    (task,) = box.status()["tasks"]
    assert task["state"] == "waiting"
    assert "waits 1 h 00 min after: try later" in task["waits"]
    running.send(signal.SIGINT)
    running.end()
    assert box.status()["tasks"][0]["waits"] == "no dispatcher runs"


def test_status_of_a_dispatcher_that_was_killed(box: Box) -> None:
    box.write({"a": "gate; ok"})
    running = box.start()
    open_gate = box.reach_gate("a")
    running.kill()
    status = box.status()
    assert status["dispatcher"] is None
    open_gate()
    box.wait_for_end_of_attempt("a")


@pytest.mark.parametrize("damage", ["remove", "empty", "garbage", "cut", "strange"])
def test_status_believes_checkpoints_whatever_became_of_the_journal(box: Box, damage: str) -> None:
    box.write({"a": "ok", "b": "exit 2"})
    box.run()
    journal = box.paths.journal
    content = journal.read_bytes()
    if damage == "remove":
        journal.unlink()
    else:
        strange = b'[]\n3\n{"event": 3, "at": 1}\n{"event": "attempt_started", "at": 1}\n'
        strange += b'{"event": "device", "at": "x"}\n{"event": "dispatcher_started", "at": 1, '
        strange += b'"devices": 3}\n{"at": 1, "event": "waits", "task": "a", "not_before": "x"}\n'
        journal.write_bytes(
            {"empty": b"", "garbage": b"\xff\x00{{{\n" * 9, "cut": content[:-20]}.get(
                damage, strange + content
            )
        )
    assert box.states() == {"a": "completed", "b": "failed"}
    assert box.run("status", box.file).code == 0
    assert box.run().code == 1
    assert box.starts() == 2


def test_a_journal_line_that_was_cut_off_does_not_swallow_the_next(box: Box) -> None:
    box.write({"a": "ok"})
    box.run()
    box.paths.journal.write_bytes(b'{"at": 1, "event": "cut o')
    box.run()
    lines = box.paths.journal.read_text().splitlines()
    assert json.loads(lines[1])["event"] == "dispatcher_started"


# --- tail ----------------------------------------------------------------------------------------


def test_tail(box: Box) -> None:
    box.write({"a": "print one; print two; ok", "b": "ok"})
    ended = box.run("tail", box.file, "a")
    assert ended.code == 1
    assert "there is no log yet; the task has not been started (-f waits for it)" in ended.err
    box.run()
    assert box.run("tail", box.file, "a").out == "one\ntwo\nSuccessfully completed\n"
    assert box.run("tail", box.file, "a", "-n", "2").out == "two\nSuccessfully completed\n"
    assert box.run("tail", box.file, "a", "-n", "0").out == ""
    assert box.run("tail", box.file, "a", "-n", "99").out == box.log("a")
    ended = box.run("tail", box.file, "a", "-n", "-1")
    assert ended.code == 2
    ended = box.run("tail", box.file, "aa")
    assert ended.code == 2
    assert ended.err == "box has no task 'aa'; did you mean a?\n"


def test_tail_follows_across_attempts(box: Box) -> None:
    box.write({"a": ["print one; gate; exit 1", "print two; gate; ok"]})
    tail = box.start("tail", box.file, "a", "-f")  # before there is anything
    running = box.start()
    tail.wait_for("^one$")
    box.open_gate("a")
    tail.wait_for("^==> next attempt <==$")
    tail.wait_for("^two$")
    box.open_gate("a")
    tail.wait_for("^Successfully completed$")
    assert running.end().code == 0
    tail.send(signal.SIGINT)
    assert tail.end().code == 130


# --- retry ---------------------------------------------------------------------------------------


def test_retry_forgets_failures(box: Box) -> None:
    box.write({"a": ["exit 2", "ok"], "b": ["exit 2", "ok"], "c": "ok"})
    assert box.run().code == 1
    ended = box.run("retry", box.file, "b")
    assert (ended.code, ended.out) == (0, "b: will run again\n")
    assert box.states() == {"a": "failed", "b": "waiting", "c": "completed"}
    assert box.run("retry", box.file).out == "a: will run again\n"
    assert "nothing to forget" in box.run("retry", box.file).out
    assert box.run().code == 0
    assert (box.starts("a"), box.starts("b"), box.starts("c")) == (2, 2, 1)


def test_retry_by_force_forgets_completions_and_keeps_the_files(box: Box) -> None:
    box.write({"a": 'results {"role": "baseline"}; ok', "b": "ok"})
    box.run()
    assert box.run("retry", box.file, "--force", "a").out == "a: will run again\n"
    assert box.states() == {"a": "waiting", "b": "completed"}
    names = {path.name for path in box.paths.checkpoints.iterdir()}
    assert {"a.done.aside", "a.jsonl.aside", "b.done"} <= names
    assert box.run().code == 0
    assert (box.starts("a"), box.starts("b")) == (2, 1)


def test_retry_of_unknown_tasks(box: Box) -> None:
    box.write({"abc": "ok"})
    ended = box.run("retry", box.file, "abd", "zzz")
    assert ended.code == 2
    assert ended.err == (
        "box has no task 'abd'; did you mean abc?\nbox has no task 'zzz'; known: abc\n"
    )


def test_retry_while_a_dispatcher_holds_the_sweep(box: Box) -> None:
    box.write({"a": "gate; ok"})
    running = box.start()
    open_gate = box.reach_gate("a")
    assert box.run("retry", box.file, "--force").code == 3
    open_gate()
    assert running.end().code == 0


def test_retry_of_a_task_whose_attempt_still_runs(box: Box) -> None:
    box.write({"a": "gate; ok"})
    running = box.start()
    open_gate = box.reach_gate("a")
    running.kill()
    ended = box.run("retry", box.file)
    assert ended.code == 2
    assert "a: an attempt of it still runs; the next run takes it over" in ended.err
    open_gate()
    assert box.run().code == 0
    assert box.starts() == 1


# --- devices -------------------------------------------------------------------------------------


def test_devices_without_nvml(box: Box) -> None:
    ended = box.run("devices")
    assert ended.code == 0
    assert ended.out.startswith("no NVIDIA driver here (")
    assert "a sweep would use 1 CPU slot(s)" in ended.out
    box.write({"a": "ok"}, devices={"cpu_slots": 3})
    assert "a sweep would use 3 CPU slot(s)" in box.run("devices", box.file).out


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(box: Box, verb: str) -> None:
    ended = box.run(verb, "--help")
    assert ended.code == 0
    assert f"python -m scheduler {'' if verb == 'run' else verb}" in ended.out
    assert "\nexample:\n  python -m scheduler " in ended.out


def test_help_names_every_verb_and_imports_nothing_heavy(box: Box) -> None:
    code = (
        "import sys\nfrom scheduler.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*sorted(set(sys.modules) & {'torch', 'pydantic', 'rich', 'yaml', 'worker'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=box.environment, capture_output=True, text=True
    )
    assert all(f"\n  {verb} " in done.stdout for verb in VERBS)
    assert done.stdout.endswith("\n\n"), "modules that --help must not wait for"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a sweep file or a verb is missing (--help shows them)"),
        (["no-such-file.yaml"], "no-such-file.yaml: there is no such file"),
        (["statsu", "x.yaml"], "there is no verb 'statsu'; did you mean status?"),
        (["status"], "the following arguments are required: SWEEP.yaml"),
        (["status", "."], "is a folder; a sweep is a YAML file"),
        (["tail", "box.yaml"], "the following arguments are required: TASK"),
        (["tail", "box.yaml", "a", "-n", "x"], "argument -n/--lines: 'x' is no number of lines"),
        (["box.yaml", "--dryrun"], "unrecognized arguments: --dryrun"),
        (["devices", "nix.yaml"], "nix.yaml: there is no such file"),
    ],
)
def test_usage_errors_end_with_2(box: Box, words: list[str], said: str) -> None:
    box.write({"a": "ok"})
    done = subprocess.run(
        [sys.executable, "-m", "scheduler", *words],
        cwd=box.folder,
        env=box.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in box.folder.iterdir()) == [
        "box.yaml",
        "gate a",
        "root",
        "told.json",
    ]


@pytest.mark.parametrize("verb", ["run", "status", "tail", "retry", "devices", "--help"])
def test_a_reader_that_has_seen_enough(box: Box, verb: str) -> None:
    """As `python -m scheduler … | head`: no traceback, and a sweep goes on without its reader."""
    box.write({"a": "chatter; ok", "b": "ok"})
    if verb == "tail":
        box.run()
    words = {"--help": ["--help"], "devices": ["devices"], "tail": ["tail", str(box.file), "a"]}
    read_end, write_end = os.pipe()
    os.close(read_end)
    rest = [] if verb in ("--help", "devices") else ["--root", str(box.root)]
    done = subprocess.run(
        [sys.executable, "-m", "scheduler", *words.get(verb, [verb, str(box.file)]), *rest],
        cwd=box.folder,
        env=box.environment,
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write_end)
    assert "Traceback" not in done.stderr, done.stderr
    assert "BrokenPipe" not in done.stderr, done.stderr
    if verb == "run":
        assert box.states() == {"a": "completed", "b": "completed"}


def test_a_sweep_from_another_folder_with_root(box: Box, tmp_path: Path) -> None:
    box.write({"a": "ok"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "scheduler", str(box.file)],
        cwd=elsewhere,
        env={**box.environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "checkpoints" / "box" / "a.done").exists()
    assert (elsewhere / "logs" / "box" / "a.log").exists()
