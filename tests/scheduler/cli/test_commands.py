"""status, tail, retry, devices, and the command line itself, as users call them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.cli.tail import _start_of_last
from tests.helpers.sweep_runner import PATIENCE, REPOSITORY, Box

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
    box.wait_for_journal("attempt_started", "a")
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
    box.wait_for_journal("waits", "a")
    (task,) = box.status()["tasks"]
    assert task["state"] == "waiting"
    assert "waits 1 h 00 min after: try later" in task["waits"]
    running.send(signal.SIGINT)
    running.end()
    assert box.status()["tasks"][0]["waits"] == "no dispatcher runs"


@pytest.mark.parametrize(
    ("number", "journal"),
    [(signal.SIGTERM, "kept"), (signal.SIGKILL, "kept"), (signal.SIGKILL, "removed")],
)
def test_status_of_what_a_dispatcher_left_running(box: Box, number: int, journal: str) -> None:
    box.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": 1})
    running = box.start()
    open_gate = box.reach_gate("a")
    box.wait_for_journal("attempt_started", "a")
    running.send(number)
    running.process.wait(PATIENCE)
    if journal == "removed":
        box.paths.journal.unlink()
    status = box.status()
    assert status["dispatcher"] is None
    assert status["counts"]["running"] == 1
    a, b = status["tasks"]
    assert (a["state"], a["attempts"], a["device"]) == ("running", 1, "cpu:0")
    assert a["started"] > 0
    assert (b["state"], b["waits"]) == ("waiting", "no dispatcher runs")
    assert [device["task"] for device in status["devices"]] == ["a"] * (journal == "kept")
    said = box.run("status", box.file).out
    assert "runs on without a dispatcher; the same command takes it over" in said
    open_gate()
    box.wait_for_end_of_attempt("a")
    status = box.status()
    assert [task["state"] for task in status["tasks"]] == ["waiting", "waiting"]
    assert [device["task"] for device in status["devices"]] == [None] * (journal == "kept")


def test_status_knows_that_the_sweep_file_has_changed(box: Box) -> None:
    box.write({"a": "ok", "b": "exit 2", "c": "ok"}, worker={"args": {"n": 1}})
    box.run()
    box.write({"a": "ok", "b": "exit 2", "c": "ok"}, worker={"args": {"n": 2}})
    status = box.status()
    assert {task["state"] for task in status["tasks"]} == {"waiting"}
    assert "its checkpoint does not hold: the sweep file asks for" in status["tasks"][0]["waits"]
    box.write({"a": "ok", "b": "exit 2", "c": "ok"}, worker={"args": {"n": 1}})
    assert box.states() == {"a": "completed", "b": "failed", "c": "completed"}


def test_status_of_a_sweep_that_is_over(box: Box) -> None:
    box.write({"a": "ok"}, name="a :smile: [red]x")
    box.run()
    said = box.run("status", box.file).out
    assert "a :smile: [red]x: no dispatcher runs" in said
    assert "1/1 tasks" in said
    assert "left" not in said


def test_many_tasks_are_counted_and_their_pass_rate_is_that_of_all(box: Box) -> None:
    summary = '{"summary": {"passed": true, "level": "L1", "achievement": 1}}'
    box.write({"x": "ok"})
    box.write_text(f"""\
name: box
matrix: {{n: {list(range(201))}}}
worker: {{command: [/bin/sh, -c, 'echo "$0" > $SWEEP_RESULTS; echo Successfully completed', '{{{summary}}}']}}
devices: {{cpu_slots: 4}}
""")
    first = box.run()
    assert first.code == 0
    box.paths.done("7").unlink()
    for said in (first.out, box.run().out, box.run("status", box.file).out):
        assert "(201 more tasks are only counted; `status --json` lists them all)" in said
        assert "L1     201 of 201  100%" in said


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


def test_tail_follows_attempts_that_are_shorter_than_a_glance(box: Box) -> None:
    attempts = [
        "print 1; gate; exit 1",
        *(f"print {n}; exit 1" for n in range(2, 6)),
        "print 6; ok",
    ]
    box.write({"a": attempts}, retries={"max_attempts": 6})
    before = box.start("tail", box.file, "a", "-f")
    running = box.start()
    open_gate = box.reach_gate("a")
    amid = box.start("tail", box.file, "a", "-f")
    for tail in (before, amid):
        tail.wait_for("^1$")
    open_gate()
    assert running.end().code == 0
    for tail in (before, amid):
        tail.wait_for("^Successfully completed$")
        tail.send(signal.SIGINT)
        lines = [line for line in tail.end().out.split() if line.isdecimal()]
        assert lines == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("content", "lines", "rest"),
    [
        *((b"abc", 0, b""), (b"", 0, b""), (b"abc\n", 0, b""), (b"a\nb", 1, b"b")),
        *((b"", 1, b""), (b"a\n\n\n", 1, b"\n"), (b"a\nb\n", 1, b"b\n"), (b"a\nb", 9, b"a\nb")),
    ],
)
def test_the_last_lines(content: bytes, lines: int, rest: bytes) -> None:
    assert content[_start_of_last(content, lines) :] == rest
    assert _start_of_last(content, lines) <= len(
        content
    )  # what is appended next is not jumped over


def test_tail_of_a_log_that_is_a_folder(box: Box) -> None:
    box.write({"a": "ok"})
    box.paths.log("a").mkdir(parents=True)
    ended = box.run("tail", box.file, "a")
    assert (ended.code, ended.err) == (2, f"{box.paths.log('a')}: Is a directory\n")


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
    box.write({"0": "exit 2", "a": "gate; ok"})
    running = box.start()
    open_gate = box.reach_gate("a")
    running.wait_for("0: failed for good")
    running.kill()
    ended = box.run("retry", box.file)
    assert ended.code == 2
    assert "a: an attempt of it still runs; the next run takes it over" in ended.err
    assert "nothing was forgotten" in ended.err
    assert box.states() == {"0": "failed", "a": "running"}
    open_gate()
    assert box.run().code == 1
    assert box.starts() == 2


# --- devices -------------------------------------------------------------------------------------


def test_devices_without_nvml(box: Box) -> None:
    ended = box.run("devices")
    assert ended.code == 0
    assert ended.out.startswith("no NVIDIA driver here (")
    assert "a sweep would use 1 CPU slot(s)" in ended.out
    box.write({"a": "ok"}, devices={"cpu_slots": 3})
    assert "a sweep would use 3 CPU slot(s)" in box.run("devices", box.file).out


@pytest.mark.parametrize("words", [[], ["--dry-run"], ["devices"]])
def test_gpus_that_a_sweep_names_are_not_replaced_by_cpu_slots(box: Box, words: list[str]) -> None:
    box.write({"a": "ok"}, devices={"only": [7]})
    ended = box.run(*words[-1:], box.file) if words == ["devices"] else box.run(box.file, *words)
    assert ended.code == 2
    assert ended.err.startswith("devices.only: names 7, but no GPU is known: no NVIDIA driver here")
    assert box.files() == []


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(box: Box, verb: str) -> None:
    ended = box.run(verb, "--help")
    assert ended.code == 0
    assert f"python -m scheduler {'' if verb == 'run' else verb}" in ended.out
    assert "\nexample:\n  python -m scheduler " in ended.out


@pytest.mark.parametrize("words", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_imports_nothing_heavy(box: Box, words: list[str]) -> None:
    code = (
        f"import sys\nfrom scheduler.cli.main import main\n"
        f"try:\n    main({words})\nexcept SystemExit:\n    pass\n"
        "print(*sorted(set(sys.modules) & {'torch', 'pydantic', 'rich', 'yaml', 'worker'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=box.environment, capture_output=True, text=True
    )
    assert "example:" in done.stdout
    assert done.stdout.endswith("\n\n"), "modules that --help must not wait for"


def test_help_names_every_verb_and_what_run_takes(box: Box) -> None:
    said = box.run("--help").out
    for part in (*VERBS, "--root", "--dry-run", "--no-adopt"):
        assert f"\n  {part} " in said


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
        (["box.yaml", "--dryrun"], "there is no option '--dryrun'; did you mean --dry-run?"),
        (["status", "box.yaml", "--jsn=1"], "there is no option '--jsn'; did you mean --json?"),
        (["status", "box.yaml", "a", "b"], "too many arguments: a b"),
        (
            ["report", "box.yaml"],
            "there is no verb 'report'; known: run, status, tail, retry, devices",
        ),
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


@pytest.mark.parametrize("words", [["status"], ["run", "--dry-run"]])
def test_a_full_disk_behind_standard_output(box: Box, words: list[str]) -> None:
    box.write({"a": "ok"})
    done = _with_output(box, "/dev/full", words)
    assert (done.returncode, done.stderr) == (2, "standard output: No space left on device\n")


def test_a_full_disk_behind_standard_output_stops_no_sweep(box: Box) -> None:
    box.write({"a": "ok"})
    done = _with_output(box, "/dev/full", ["run"])
    assert (done.returncode, done.stderr) == (0, "")
    assert box.states() == {"a": "completed"}


def _with_output(box: Box, to: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    verb, *options = words
    with open(to, "w") as output:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "scheduler",
                verb,
                str(box.file),
                "--root",
                str(box.root),
                *options,
            ],
            cwd=box.folder,
            env=box.environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.mark.parametrize(
    ("words", "closed"),
    [
        *((["status"], ">&-"), (["run", "--dry-run"], ">&-"), (["run", "--help"], ">&-")),
        *((["run"], ">&- 2>&-"), (["run"], "<&- >&- 2>&-")),
    ],
)
def test_closed_standard_streams(box: Box, words: list[str], closed: str) -> None:
    box.write({"a": "print to the log; ok"})
    verb, *options = words
    done = subprocess.run(
        [
            *("/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "scheduler"),
            *(verb, str(box.file), "--root", str(box.root), *options),
        ],
        cwd=box.folder,
        env=box.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if words == ["run"]:
        assert box.states() == {"a": "completed"}
        assert box.log("a") == "to the log\nSuccessfully completed\n"
        assert len(box.journal("completed")) == 1


def test_an_encoding_that_lacks_letters(box: Box) -> None:
    summary = {"summary": {"speedup": 2.5}}
    box.write({"ä": f"results {json.dumps(summary)}; ok"})
    ended = box.run(PYTHONIOENCODING="ascii")
    assert ended.code == 0
    assert "?: completed in " in ended.out
    assert "2.50?" in ended.out
    assert box.run("status", box.file, PYTHONIOENCODING="ascii").code == 0


@pytest.mark.parametrize("words", [["status"], ["run", "--dry-run"], ["run"], ["retry"]])
def test_a_file_where_the_folder_should_be(box: Box, words: list[str]) -> None:
    box.write({"a": "ok"})
    box.paths.checkpoints.parent.mkdir()
    box.paths.checkpoints.write_text("")
    ended = box.run(words[0], box.file, *words[1:])
    assert ended.code == 2
    assert str(box.paths.checkpoints) in ended.err
    assert ended.err.count("\n") == 1 + str(box.paths.checkpoints).count("\n")


def test_ctrl_c_while_modules_are_loaded(box: Box) -> None:
    box.write({"a": "ok"})
    slow = box.folder / "slow"  # a module that takes until Ctrl-C to be loaded
    slow.mkdir()
    (slow / "yaml.py").write_text(f"open({str(box.folder / 'gate a')!r}).read()\n")
    running = box.start("status", box.file, PYTHONPATH=f"{slow}{os.pathsep}{REPOSITORY}")
    box.reach_gate("a")
    running.send(signal.SIGINT)
    ended = running.end()
    assert (ended.code, ended.out, ended.err) == (130, "", "")


def test_ctrl_c_while_the_worker_is_asked(box: Box) -> None:
    box.write({"a": "gate; ok"})
    check = ["/bin/sh", "-c", f'exec cat "{box.folder}/gate a"']
    box.write({"a": "ok"}, worker={"check": check})
    running = box.start()
    box.reach_gate("a")
    running.send(signal.SIGINT)
    ended = running.end()
    assert (ended.code, ended.out, ended.err) == (130, "", "")


NO_FLOCK = """\
#include <errno.h>
int flock(int fd, int operation) { errno = ENOSYS; return -1; }
"""


def test_a_file_system_that_keeps_no_locks(box: Box, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) to take flock away with")
    source, library = tmp_path / "no_flock.c", tmp_path / "no_flock.so"
    source.write_text(NO_FLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    box.write({"a": "ok"})
    ended = box.run(LD_PRELOAD=str(library))
    assert ended.code == 2
    assert "this file system keeps no locks (flock: Function not implemented); put" in ended.err
    assert box.starts() == 0


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
