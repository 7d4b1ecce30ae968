"""status, tail, retry, devices, and the command line itself, as users call them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.sweep_runner import PATIENCE, REPOSITORY, SweepRunner

COMMANDS = ("run", "status", "tail", "retry", "devices")


# --- status --------------------------------------------------------------------------------------


def test_status_of_a_sweep_that_never_ran(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    ended = runner.run("status", runner.file)
    assert ended.code == 0
    assert "runner: no dispatcher runs" in ended.out
    assert "0 of 1 completed" in ended.out
    assert runner.files() == []


def test_status_while_a_dispatcher_runs(runner: SweepRunner) -> None:
    runner.write(
        {"a": "gate; ok", "b": "exit 2", "c": "ok"},
        devices={"cpu_slots": 1},
    )
    runner.script({"a": "gate; ok", "b": "exit 2", "c": "ok"})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    runner.wait_for_journal("attempt_started", "a")
    ended = runner.run("status", runner.file)
    assert f"a dispatcher runs (pid {running.process.pid}, " in ended.out
    status = runner.status()
    assert status["dispatcher"]["pid"] == running.process.pid
    assert runner.states() == {"a": "running", "b": "waiting", "c": "waiting"}
    assert "all run other tasks" in status["tasks"][1]["waits"]
    assert status["devices"][0]["task"] == "a"
    open_gate()
    assert running.end().code == 1
    status = runner.status()
    assert status["dispatcher"] is None
    assert runner.states() == {"a": "completed", "b": "failed", "c": "completed"}
    assert status["tasks"][1]["cause"].startswith("exit code 2")
    assert status["counts"]["completed"] == 2
    for figure in ("idle_device_seconds", "lost_device_seconds", "median_gap_seconds"):
        assert status[figure] >= 0


def test_status_says_what_a_backing_off_task_waits_for(runner: SweepRunner) -> None:
    runner.write({"a": "exit 75"}, retries={"backoff": "1h"})
    running = runner.start()
    running.wait_for("will be tried again")
    runner.wait_for_journal("waits", "a")
    (task,) = runner.status()["tasks"]
    assert task["state"] == "waiting"
    assert "waits 1 h 00 min after: try later" in task["waits"]
    running.send(signal.SIGINT)
    running.end()
    assert runner.status()["tasks"][0]["waits"] == "no dispatcher runs"


@pytest.mark.parametrize(
    ("number", "journal", "slots"),
    [
        (signal.SIGTERM, "kept", 1),
        (signal.SIGKILL, "kept", 2),
        (signal.SIGKILL, "removed", 2),
    ],
)
def test_status_of_what_a_dispatcher_left_running(
    runner: SweepRunner, number: int, journal: str, slots: int
) -> None:
    runner.write({"a": "gate; ok", "b": "ok"}, devices={"cpu_slots": slots, "per_task": slots})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    runner.wait_for_journal("attempt_started", "a")
    running.send(number)
    running.process.wait(PATIENCE)
    if journal == "removed":
        runner.paths.journal.unlink()
    status = runner.status()
    assert status["dispatcher"] is None
    assert status["counts"]["running"] == 1
    a, b = status["tasks"]
    assert (a["state"], a["attempts"], a["device"]) == ("running", 1, "cpu:0")
    assert a["devices"] == ["cpu:0", "cpu:1"][:slots]
    assert a["started"] > 0
    assert (b["state"], b["waits"]) == ("waiting", "no dispatcher runs")
    assert [device["task"] for device in status["devices"]] == ["a"] * slots * (journal == "kept")
    said = runner.run("status", runner.file).out
    assert "runs on without a dispatcher; the same command takes it over" in said
    open_gate()
    runner.wait_for_end_of_attempt("a")
    status = runner.status()
    assert [task["state"] for task in status["tasks"]] == ["waiting", "waiting"]
    assert [device["task"] for device in status["devices"]] == [None] * slots * (journal == "kept")


def test_status_knows_that_the_sweep_file_has_changed(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "exit 2", "c": "ok"}, worker={"args": {"n": 1}})
    runner.run()
    runner.write({"a": "ok", "b": "exit 2", "c": "ok"}, worker={"args": {"n": 2}})
    status = runner.status()
    assert {task["state"] for task in status["tasks"]} == {"waiting"}
    assert "its checkpoint does not hold: the sweep file has changed" in status["tasks"][0]["waits"]
    runner.write({"a": "ok", "b": "exit 2", "c": "ok"}, worker={"args": {"n": 1}})
    assert runner.states() == {"a": "completed", "b": "failed", "c": "completed"}


def test_status_of_a_sweep_that_is_over(runner: SweepRunner) -> None:
    runner.write({"a": "ok"}, name="a :smile: [red]x")
    runner.run()
    said = runner.run("status", runner.file).out
    assert "a :smile: [red]x: no dispatcher runs" in said
    assert "1/1 completed" in said
    assert "left" not in said


def test_many_tasks_are_counted_and_their_pass_rate_is_that_of_all(runner: SweepRunner) -> None:
    summary = '{"summary": {"passed": true, "level": "L1", "achievement": 1}}'
    runner.write({"x": "ok"})
    runner.write_text(f"""\
name: runner
matrix: {{n: {list(range(201))}}}
worker: {{command: [/bin/sh, -c, 'echo "$0" > $SWEEP_RESULTS; echo Successfully completed', '{summary}']}}
devices: {{cpu_slots: 4}}
""")
    first = runner.run()
    assert first.code == 0
    runner.paths.done("7").unlink()
    for said in (first.out, runner.run().out, runner.run("status", runner.file).out):
        assert "(201 tasks are only counted; `status --json` lists them all)" in said
        assert "L1     201 of 201  100%" in said


@pytest.mark.parametrize(
    ("damage", "unread"), [("remove", 0), ("empty", 0), ("garbage", 9), ("cut", 0), ("strange", 7)]
)
def test_status_believes_checkpoints_whatever_became_of_the_journal(
    runner: SweepRunner, damage: str, unread: int
) -> None:
    runner.write({"a": "ok", "b": "exit 2"})
    runner.run()
    journal = runner.paths.journal
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
    assert runner.states() == {"a": "completed", "b": "failed"}
    assert runner.status()["journal_lines_unread"] == unread
    status = runner.run("status", runner.file)
    assert status.code == 0
    assert (f"journal: {unread} line(s) could not be read" in status.out) == (unread > 0)
    assert runner.run().code == 1
    assert runner.starts() == 2


def test_a_journal_line_that_was_cut_off_does_not_swallow_the_next(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    runner.run()
    runner.paths.journal.write_bytes(b'{"at": 1, "event": "cut o')
    runner.run()
    lines = runner.paths.journal.read_text().splitlines()
    assert json.loads(lines[1])["event"] == "dispatcher_started"


# --- retry ---------------------------------------------------------------------------------------


def test_retry_forgets_failures(runner: SweepRunner) -> None:
    runner.write({"a": ["exit 2", "ok"], "b": ["exit 2", "ok"], "c": "ok"})
    assert runner.run().code == 1
    ended = runner.run("retry", runner.file, "b")
    assert (ended.code, ended.out) == (0, "b: will run again\n")
    assert runner.states() == {"a": "failed", "b": "waiting", "c": "completed"}
    assert runner.run("retry", runner.file).out == "a: will run again\n"
    assert "nothing to forget" in runner.run("retry", runner.file).out
    assert runner.run().code == 0
    assert (runner.starts("a"), runner.starts("b"), runner.starts("c")) == (2, 2, 1)


def test_retry_by_force_forgets_completions_and_keeps_the_files(runner: SweepRunner) -> None:
    runner.write({"a": 'results {"role": "baseline"}; ok', "b": "ok"})
    runner.run()
    assert runner.run("retry", runner.file, "--force", "a").out == "a: will run again\n"
    assert runner.states() == {"a": "waiting", "b": "completed"}
    names = {path.name for path in runner.paths.checkpoints.iterdir()}
    assert {"a.done.aside", "a.jsonl.aside", "b.done"} <= names
    assert runner.run().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (2, 1)


def test_tasks_that_begin_with_a_dash(runner: SweepRunner) -> None:
    runner.write({"-1": "exit 2", "-f": "exit 2", "--root": "exit 2"})
    assert runner.run().code == 1
    assert runner.run("tail", runner.file, "-1", "-n", "5").code == 0
    retried = runner.run("retry", runner.file, "--", "-f", "--root")
    assert retried.out == "-f: will run again\n--root: will run again\n"
    assert runner.run("retry", runner.file, "-1").out == "-1: will run again\n"
    assert "there is no option '--rot'; did you mean --root? (a task" in (
        runner.run("retry", runner.file, "--rot").err
    )


def test_retry_of_unknown_tasks(runner: SweepRunner) -> None:
    runner.write({"abc": "ok"})
    ended = runner.run("retry", runner.file, "abd", "zzz")
    assert ended.code == 2
    assert ended.err == (
        "runner has no task 'abd'; did you mean abc?\nrunner has no task 'zzz'; known: abc\n"
    )


def test_retry_while_a_dispatcher_holds_the_sweep(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok"})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    assert runner.run("retry", runner.file, "--force").code == 3
    open_gate()
    assert running.end().code == 0


def test_retry_of_a_task_whose_attempt_still_runs(runner: SweepRunner) -> None:
    runner.write({"0": "exit 2", "a": "gate; ok"})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    running.wait_for("0: failed for good")
    running.kill()
    ended = runner.run("retry", runner.file)
    assert ended.code == 2
    assert "a: an attempt of it still runs; the next run takes it over" in ended.err
    assert "nothing was forgotten" in ended.err
    assert runner.states() == {"0": "failed", "a": "running"}
    open_gate()
    assert runner.run().code == 1
    assert runner.starts() == 2


# --- devices -------------------------------------------------------------------------------------


def test_devices_without_nvml(runner: SweepRunner) -> None:
    ended = runner.run("devices")
    assert ended.code == 0
    assert ended.out.startswith("no NVIDIA driver here (")
    assert "a sweep would use 1 CPU slot(s)" in ended.out
    runner.write({"a": "ok"}, devices={"cpu_slots": 3})
    assert "a sweep would use 3 CPU slot(s)" in runner.run("devices", runner.file).out


@pytest.mark.parametrize("words", [[], ["--dry-run"], ["devices"]])
def test_gpus_that_a_sweep_names_are_not_replaced_by_cpu_slots(
    runner: SweepRunner, words: list[str]
) -> None:
    runner.write({"a": "ok"}, devices={"only": [7]})
    ended = (
        runner.run(*words[-1:], runner.file)
        if words == ["devices"]
        else runner.run(runner.file, *words)
    )
    assert ended.code == 2
    assert ended.err.startswith("devices.only: names 7, but no GPU is known: no NVIDIA driver here")
    assert runner.files() == []


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(runner: SweepRunner, command: str) -> None:
    ended = runner.run(command, "--help")
    assert ended.code == 0
    assert f"python -m scheduler {'' if command == 'run' else command}" in ended.out
    assert "\nexample:\n  python -m scheduler " in ended.out


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_imports_nothing_heavy(runner: SweepRunner, words: list[str]) -> None:
    code = (
        f"import sys\nfrom scheduler.cli.main import main\n"
        f"try:\n    main({words})\nexcept SystemExit:\n    pass\n"
        "print(*sorted(set(sys.modules) & {'torch', 'pydantic', 'rich', 'yaml', 'worker'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=runner.environment, capture_output=True, text=True
    )
    assert "example:" in done.stdout
    assert done.stdout.endswith("\n\n"), "modules that --help must not wait for"


def test_help_names_every_command_and_what_run_takes(runner: SweepRunner) -> None:
    said = runner.run("--help").out
    for part in (*COMMANDS, "--root", "--dry-run", "--no-adopt"):
        assert f"\n  {part} " in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a sweep file or a command is missing (--help shows them)"),
        (["no-such-file.yaml"], "no-such-file.yaml: there is no such file"),
        (["statsu", "x.yaml"], "there is no command 'statsu'; did you mean status?"),
        (["status"], "the following arguments are required: SWEEP.yaml"),
        (["status", "."], "is a folder; a sweep is a YAML file"),
        (["tail", "runner.yaml"], "whose log? Name tasks by id or pattern"),
        (["tail", "runner.yaml", "a", "-f", "--failed"], "--failed: not allowed with argument -f"),
        (["tail", "runner.yaml", "a", "-n", "x"], "argument -n/--lines: 'x' is no number of lines"),
        (["tail", "runner.yaml", "a", "-n", "-5k"], "'-5k' is no number of lines"),
        (["retry", "runner.yaml", "zz", "--root", "-1"], "runner has no task 'zz'"),
        (["results", "runner.yaml", "--max-loss", "-5%"], "'-5%' is no share: write 1% or 0.01"),
        (["results", "runner.yaml", "--max-loss", "-.5%"], "'-.5%' is no share"),
        (["results", "runner.yaml", "--max-loss", "-inf"], "'-inf' is no share"),
        (["runner.yaml", "--dryrun"], "there is no option '--dryrun'; did you mean --dry-run?"),
        (["status", "runner.yaml", "--jsn=1"], "there is no option '--jsn'; did you mean --json?"),
        (["status", "runner.yaml", "a", "b"], "too many arguments: a b"),
        (
            ["nosuch", "runner.yaml"],
            "there is no command 'nosuch'; known: run, status, results, report, track, tail, retry, stop, "
            "pause, resume, drain, reload, devices",
        ),
        (["devices", "nix.yaml"], "nix.yaml: there is no such file"),
    ],
)
def test_usage_errors_end_with_2(runner: SweepRunner, words: list[str], said: str) -> None:
    runner.write({"a": "ok"})
    done = subprocess.run(
        [sys.executable, "-m", "scheduler", *words],
        cwd=runner.folder,
        env=runner.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in runner.folder.iterdir()) == [
        "gate a",
        "root",
        "runner.yaml",
        "script.json",
    ]


@pytest.mark.parametrize("kind", ["fifo", "link", "socket", "device"])
def test_no_command_waits_for_what_is_no_file(runner: SweepRunner, kind: str) -> None:
    """Each in its turn, by one process that must come to its end."""
    sweep = runner.folder / "odd.yaml"
    if kind == "socket":
        os.mknod(sweep, stat.S_IFSOCK | 0o600)
    elif kind == "device":
        sweep.symlink_to("/dev/zero")
    else:
        os.mkfifo(runner.folder / "fifo" if kind == "link" else sweep)
        if kind == "link":
            sweep.symlink_to("fifo")
    words = {"tail": ["a"], "stop": ["a"], "drain": ["0"]}
    calls = [[command, "odd.yaml", *words.get(command, [])] for command in COMMANDS]
    code = f"from scheduler.cli.main import main; print(*map(main, {calls}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=runner.folder,
        env=runner.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = "odd.yaml: is a FIFO, a socket or a device; a sweep is a YAML file\n"
    assert done.stderr == said * len(COMMANDS)
    assert done.stdout.split() == ["2"] * len(COMMANDS)


@pytest.mark.parametrize("command", ["run", "status", "tail", "retry", "devices", "--help"])
def test_a_reader_that_has_seen_enough(runner: SweepRunner, command: str) -> None:
    """As `python -m scheduler … | head`: no traceback, and a sweep goes on without its reader."""
    runner.write({"a": "chatter; ok", "b": "ok"})
    if command == "tail":
        runner.run()
    words = {"--help": ["--help"], "devices": ["devices"], "tail": ["tail", str(runner.file), "a"]}
    read_end, write_end = os.pipe()
    os.close(read_end)
    rest = [] if command in ("--help", "devices") else ["--root", str(runner.root)]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "scheduler",
            *words.get(command, [command, str(runner.file)]),
            *rest,
        ],
        cwd=runner.folder,
        env=runner.environment,
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write_end)
    assert "Traceback" not in done.stderr, done.stderr
    assert "BrokenPipe" not in done.stderr, done.stderr
    if command == "run":
        assert runner.states() == {"a": "completed", "b": "completed"}


@pytest.mark.parametrize("words", [["status"], ["run", "--dry-run"]])
def test_a_full_disk_behind_standard_output(runner: SweepRunner, words: list[str]) -> None:
    runner.write({"a": "ok"})
    done = _with_output(runner, "/dev/full", words)
    assert (done.returncode, done.stderr) == (2, "standard output: No space left on device\n")


def test_a_full_disk_behind_standard_output_stops_no_sweep(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    done = _with_output(runner, "/dev/full", ["run"])
    assert (done.returncode, done.stderr) == (0, "")
    assert runner.states() == {"a": "completed"}


def _with_output(
    runner: SweepRunner, to: str, words: list[str]
) -> subprocess.CompletedProcess[str]:
    command, *options = words
    with open(to, "w") as output:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "scheduler",
                command,
                str(runner.file),
                "--root",
                str(runner.root),
                *options,
            ],
            cwd=runner.folder,
            env=runner.environment,
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
def test_closed_standard_streams(runner: SweepRunner, words: list[str], closed: str) -> None:
    runner.write({"a": "print to the log; ok"})
    command, *options = words
    done = subprocess.run(
        [
            *("/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "scheduler"),
            *(command, str(runner.file), "--root", str(runner.root), *options),
        ],
        cwd=runner.folder,
        env=runner.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if words == ["run"]:
        assert runner.states() == {"a": "completed"}
        assert runner.log("a") == "to the log\nSuccessfully completed\n"
        assert len(runner.journal("completed")) == 1


def test_an_encoding_that_lacks_letters(runner: SweepRunner) -> None:
    summary = {"summary": {"speedup": 2.5}}
    runner.write({"ä": f"results {json.dumps(summary)}; ok"})
    ended = runner.run(PYTHONIOENCODING="ascii")
    assert ended.code == 0
    assert "?: completed in " in ended.out
    assert "2.50?" in ended.out
    assert runner.run("status", runner.file, PYTHONIOENCODING="ascii").code == 0


@pytest.mark.parametrize("words", [["status"], ["run", "--dry-run"], ["run"], ["retry"]])
def test_a_file_where_the_folder_should_be(runner: SweepRunner, words: list[str]) -> None:
    runner.write({"a": "ok"})
    runner.paths.checkpoints.parent.mkdir()
    runner.paths.checkpoints.write_text("")
    ended = runner.run(words[0], runner.file, *words[1:])
    assert ended.code == 2
    assert str(runner.paths.checkpoints) in ended.err
    assert ended.err.count("\n") == 1 + str(runner.paths.checkpoints).count("\n")


def test_ctrl_c_while_modules_are_loaded(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    slow = runner.folder / "slow"  # a module that takes until Ctrl-C to be loaded
    slow.mkdir()
    # Not one long call, since a signal just before it blocks would be noticed only after it; and no file
    # object, whose finalizer would swallow the interrupt.
    gate = str(runner.folder / "gate a")
    (slow / "yaml.py").write_text(
        f"import os, time\nos.open({gate!r}, os.O_RDONLY)\nwhile True: time.sleep(0.01)\n"
    )
    running = runner.start("status", runner.file, PYTHONPATH=f"{slow}{os.pathsep}{REPOSITORY}")
    runner.reach_gate("a")
    running.process.send_signal(signal.SIGINT)  # it is up, though it prints nothing
    ended = running.end()
    assert (ended.code, ended.out, ended.err) == (130, "", "")


def test_ctrl_c_while_the_worker_is_asked(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok"})
    check = ["/bin/sh", "-c", f'exec cat "{runner.folder}/gate a"']
    runner.write({"a": "ok"}, worker={"check": check})
    running = runner.start()
    runner.reach_gate("a")
    running.process.send_signal(signal.SIGINT)  # it is up, though it prints nothing
    ended = running.end()
    assert (ended.code, ended.out, ended.err) == (130, "", "")


NO_FLOCK = """\
#include <errno.h>
int flock(int fd, int operation) { errno = ENOSYS; return -1; }
"""


def test_a_file_system_that_keeps_no_locks(runner: SweepRunner, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) to take flock away with")
    source, library = tmp_path / "no_flock.c", tmp_path / "no_flock.so"
    source.write_text(NO_FLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    runner.write({"a": "ok"})
    ended = runner.run(LD_PRELOAD=str(library))
    assert ended.code == 2
    assert "this file system keeps no locks (flock: Function not implemented); put" in ended.err
    assert runner.starts() == 0


def test_a_sweep_from_another_folder_with_root(runner: SweepRunner, tmp_path: Path) -> None:
    runner.write({"a": "ok"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "scheduler", str(runner.file)],
        cwd=elsewhere,
        env={**runner.environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "checkpoints" / "runner" / "a.done").exists()
    assert (elsewhere / "logs" / "runner" / "a.log").exists()


@pytest.mark.parametrize(
    "words", [["status"], [], ["--dry-run"], ["tail", "a"], ["retry"], ["devices"]]
)
def test_a_current_folder_that_was_removed(runner: SweepRunner, words: list[str]) -> None:
    runner.write({"a": "ok"})
    gone = runner.folder / "gone"
    gone.mkdir()
    command = [sys.executable, "-m", "scheduler", *words[:1], str(runner.file), *words[1:]]
    ended = subprocess.run(
        ["/bin/sh", "-c", 'rmdir "$1"; shift; exec "$@"', "sh", str(gone), *command],
        cwd=gone,
        env=runner.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if words == ["devices"]:  # it needs no folder
        assert ended.returncode in (0, 2)
    else:
        assert ended.returncode == 2
        assert ended.stderr.startswith(
            "the current folder (it was removed; cd to one that exists): "
        )
    assert "Traceback" not in ended.stderr
