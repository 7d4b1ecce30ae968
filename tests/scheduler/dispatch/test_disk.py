"""Disks that are full and folders that are read-only."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from scheduler.config.loader import read_sweep
from scheduler.core.verdict import Kind
from scheduler.dispatch.attempts.outcomes import Outcomes
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.judgement import judge_attempt
from scheduler.dispatch.wishes.sweep_in_use import SweepInUse
from scheduler.dispatch.writer import CheckpointWriter, Readers
from scheduler.storage.attempts_file import AttemptRecord, EndLine, StartLine
from tests.helpers.sweep_runner import AT_REST, SweepRunner

Mount = Callable[..., None]


@pytest.fixture
def mount(runner: SweepRunner) -> Iterator[Mount]:
    """Mount a file system of its own on the runner's root; without the right to, the test is skipped."""
    mounted = False

    def do(*options: str) -> None:
        nonlocal mounted
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("needs to mount a small file system, as root")
        words = ["mount", *options, "-t", "tmpfs", "tmpfs", str(runner.root)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")
        mounted = True

    yield do
    if mounted:
        runner.clean_up()
        subprocess.run(["umount", "--lazy", str(runner.root)], check=True)


def fill(folder: Path) -> Path:
    """Fill the folder's disk to the last byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filler


def fill_with_files(folder: Path) -> Iterator[Path]:
    """Make files until the file system has none to give; yield them."""
    for number in range(1000):
        path = folder / f"file {number}"
        try:
            path.touch()
        except OSError:
            return
        yield path


def test_a_read_only_folder_is_told_at_the_start(runner: SweepRunner, mount: Mount) -> None:
    if os.geteuid() == 0:
        mount("-o", "ro")
    else:
        runner.root.chmod(0o555)
    runner.write({"a": "ok"})
    ended = runner.run()
    assert ended.code == 2
    assert ended.err.startswith(str(runner.root))
    assert "checkpoints and logs must be writable (--root DIR puts them elsewhere)" in ended.err
    assert runner.run("retry", runner.file).code == 0  # there is nothing to forget
    assert runner.starts() == 0
    assert runner.states() == {"a": "waiting"}
    assert runner.run(runner.file, "--dry-run").code == 0


def test_a_full_disk_pauses_the_sweep_until_there_is_room(
    runner: SweepRunner, mount: Mount
) -> None:
    mount("-o", "size=256k")
    measured = json.dumps({"role": "baseline"})
    runner.write(
        {
            "a": f"results {measured}; print page of my own; gate; ok",
            "b": ["print No space left on device; gate; exit 1", "ok"],
            "silent": ["gate; exit 1", "ok"],  # as one that cannot even write why
            "c": "ok",
        },
        devices={"cpu_slots": 3},
        retries={"max_attempts": 1},
    )
    running = runner.start()
    gates = [runner.reach_gate(task) for task in ("a", "b", "silent")]
    filler = fill(runner.root)
    for open_gate in gates:
        open_gate()
    running.wait_for("paused: .*; goes on by itself when files can be written again")
    assert runner.starts("c") == 0
    assert runner.status()["paused"]
    assert not [path for path in runner.paths.checkpoints.iterdir() if path.suffix == ".done"]
    assert json.loads(runner.paths.results("a").read_text()) == json.loads(measured)
    filler.unlink()
    running.wait_for("goes on: files can be written again")
    ended = running.end()
    assert ended.code == 0, ended.out
    assert [runner.starts(task) for task in ("a", "b", "silent", "c")] == [1, 2, 2, 1]
    assert json.loads(runner.paths.results("a").read_text()) == json.loads(measured)


@pytest.mark.parametrize("what", ["log", "results"])
def test_who_fills_the_disk_is_charged_for_it_and_named(
    runner: SweepRunner, mount: Mount, what: str
) -> None:
    mount("-o", "size=8m")
    runner.write(
        {
            "bad": f"gate; flood {what}",
            "ok": ["print page of my own; gate; ok", "ok"],
            "later": "ok",
        },
        retries={"max_attempts": 1},
    )
    running = runner.start()
    gates = [runner.reach_gate(task) for task in ("bad", "ok")]
    gates[0]()
    name = {"log": runner.paths.log("bad"), "results": runner.paths.results("bad")}[what]
    lines = [running.wait_for("paused: .*|bad: attempt 1 on .*: too much .*") for _ in range(2)]
    said = " ".join(line.group() for line in lines)  # in either order
    assert f"its own {name.name} took the room: " in said
    assert re.search(rf"; the sweep's largest file is .*/{name.name} \([78] MiB\)", said)
    gates[1]()
    name.unlink()
    ended = running.end()
    assert ended.code == 1
    assert runner.starts("bad") == 1
    assert set(runner.paths.checkpoints.glob("*.done")) == {
        runner.paths.done("ok"),
        runner.paths.done("later"),
    }


def test_a_log_that_breaks_off_while_the_disk_is_full_is_charged_to_nobody(
    runner: SweepRunner,
) -> None:
    """The disk has room again when it is judged."""
    sweep = read_sweep(runner.write({"a": "ok", "b": "ok"}))
    runner.paths.make_folders()
    known = AttemptRecord(StartLine(1, ("cpu:0",), started=50.0), ended=EndLine(code=1, ended=60.0))
    verdicts = {}
    for content in ("", "half a li", "a line\n"):
        runner.paths.log("a").write_text(content)
        for full_at in (0.0, 49.0, 55.0):
            judgement = judge_attempt(
                sweep.tasks[0], runner.paths, sweep, deepcopy(known), full_at=full_at
            )
            verdicts[content, full_at] = judgement.verdict.kind
            runner.paths.attempts("a").unlink(missing_ok=True)
    free = {case for case, kind in verdicts.items() if kind is Kind.DISK_FULL}
    assert free == {("", 55.0), ("half a li", 55.0)}


def test_without_inodes_no_file_is_to_blame(runner: SweepRunner, mount: Mount) -> None:
    mount("-o", "size=8m,nr_inodes=40")
    runner.write({"a": "gate; ok"})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    (runner.root / "large").write_bytes(b"x" * 3_000_000)
    many = list(fill_with_files(runner.root))
    open_gate()
    running.wait_for("paused: .*No space left on device: there are too many files")
    for path in many:
        path.unlink()
    assert running.end().code == 0


def test_a_sweep_that_is_paused_can_be_left_and_resumed(runner: SweepRunner, mount: Mount) -> None:
    mount("-o", "size=256k")
    runner.write({"a": "print page of my own; gate; ok", "b": "ok"}, devices={"cpu_slots": 1})
    running = runner.start()
    open_gate = runner.reach_gate("a")
    filler = fill(runner.root)
    open_gate()
    running.wait_for("paused: ")
    running.send(signal.SIGINT)
    running.wait_for("interrupted")
    running.send(signal.SIGINT)
    assert running.end().code == 130
    filler.unlink()
    assert runner.run().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (1, 1)


def test_folders_removed_in_mid_run_are_made_again_and_cost_nothing(runner: SweepRunner) -> None:
    script = {"a": ["gate; ok", "ok"], "b": "ok"}
    runner.write(script, devices={"cpu_slots": 1}, retries={"max_attempts": 1}, limits=AT_REST)
    running = runner.start()
    open_gate = runner.reach_gate("a")
    running.wait_for("a: attempt 1 started")
    shutil.rmtree(runner.paths.logs)
    shutil.rmtree(runner.paths.checkpoints)
    open_gate()
    running.wait_for("paused: .*No such file or directory")
    ended = running.end()
    assert ended.code == 0, ended.out
    assert "lost: exit code 0, but its log, which had to prove it, is gone" in ended.out
    assert (runner.starts("a"), runner.starts("b")) == (2, 1)


def test_an_attempts_file_removed_in_mid_run_costs_nothing(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": ["helper; gate; ok", "ok"]}, retries={"max_attempts": 1})
    running = runner.start()
    gates = [runner.reach_gate("a"), runner.reach_gate("b")]
    supervisor = runner.attempt("b")["supervisor"]
    for task in ("a", "b"):
        runner.paths.attempts(task).unlink()
    os.kill(supervisor, signal.SIGKILL)
    running.wait_for("b: attempt 1 on cpu:[01]: lost")
    for open_gate in gates:
        open_gate()
    ended = running.end()
    assert ended.code == 0, ended.out
    assert runner.done("a")["exit_code"] == 0
    assert runner.done("a")["attempts"][0]["device"].startswith("cpu:")
    assert (runner.starts("a"), runner.starts("b")) == (1, 2)


def test_what_no_disk_is_to_blame_for_names_no_file(runner: SweepRunner) -> None:
    heard: list[Any] = []
    sweep = read_sweep(runner.write({"a": "ok"}))
    writer = CheckpointWriter(runner.paths.checkpoints, heard.append)
    readers = Readers(heard.append)
    outcomes = Outcomes(
        SweepInUse(sweep), runner.paths, Clock(), writer, readers, heard.append, heard.append
    )
    outcomes.files_in_trouble(OSError(errno.EMFILE, "Too many open files", "a file"))
    outcomes.files_in_trouble(OSError(errno.ENOSPC, "No space left on device"))
    assert [event.reason for event in heard] == [
        "Too many open files",
        f"{runner.paths.checkpoints}: No space left on device",
    ]


def test_a_disk_that_is_full_from_the_start(runner: SweepRunner, mount: Mount) -> None:
    mount("-o", "size=64k")
    filler = fill(runner.root)
    runner.write({"a": "ok"})
    running = runner.start()
    running.wait_for("paused: .*No space left on device")
    running.send(signal.SIGINT)
    assert running.end().code == 130
    assert runner.starts() == 0
    filler.unlink()
    assert runner.run().code == 0


def test_a_journal_removed_in_mid_run_is_begun_anew(runner: SweepRunner) -> None:
    runner.write({"a": "ok", "b": "gate; ok"}, devices={"cpu_slots": 1})
    running = runner.start()
    open_gate = runner.reach_gate("b")
    runner.wait_for_journal("completed", "a")
    runner.paths.journal.unlink()
    open_gate()
    assert running.end().code == 0
    assert runner.journal("snapshot")
    assert [entry["task"] for entry in runner.journal("completed")] == ["b"]
    assert set(runner.states().values()) == {"completed"}
