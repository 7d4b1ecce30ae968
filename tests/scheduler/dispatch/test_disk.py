"""Disks that are full and folders that are read-only."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.config.loader import read_sweep
from scheduler.dispatch.clock import Clock
from scheduler.dispatch.outcomes import Records
from scheduler.dispatch.writer import Clerk
from tests.helpers.sweep_runner import Box

Mount = Callable[..., None]


@pytest.fixture
def mount(box: Box) -> Iterator[Mount]:
    """Mount a file system of its own on the box's root; without the right to, the test is skipped."""
    mounted = False

    def do(*options: str) -> None:
        nonlocal mounted
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("needs to mount a small file system, as root")
        words = ["mount", *options, "-t", "tmpfs", "tmpfs", str(box.root)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")
        mounted = True

    yield do
    if mounted:
        box.clean_up()
        subprocess.run(["umount", "--lazy", str(box.root)], check=True)


def fill(folder: Path) -> Path:
    """Fill the folder's disk to the last byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filler


def test_a_read_only_folder_is_told_at_the_start(box: Box, mount: Mount) -> None:
    if os.geteuid() == 0:
        mount("-o", "ro")
    else:
        box.root.chmod(0o555)
    box.write({"a": "ok"})
    for words in ([box.file], ["retry", box.file]):
        ended = box.run(*words)
        assert ended.code == 2
        assert ended.err.startswith(str(box.root))
        assert "checkpoints and logs must be writable (--root DIR puts them elsewhere)" in ended.err
    assert box.starts() == 0
    assert box.states() == {"a": "waiting"}
    assert box.run(box.file, "--dry-run").code == 0


def test_a_full_disk_pauses_the_sweep_until_there_is_room(box: Box, mount: Mount) -> None:
    mount("-o", "size=256k")
    measured = json.dumps({"role": "baseline"})
    box.write(
        {
            "a": f"results {measured}; print page of my own; gate; ok",
            "b": ["print No space left on device; gate; exit 1", "ok"],
            "silent": ["gate; exit 1", "ok"],  # as one that cannot even write why
            "c": "ok",
        },
        devices={"cpu_slots": 3},
        retries={"max_attempts": 1},
    )
    running = box.start()
    gates = [box.reach_gate(task) for task in ("a", "b", "silent")]
    filler = fill(box.root)
    for open_gate in gates:
        open_gate()
    running.wait_for("paused: .*; goes on by itself when files can be written again")
    assert box.starts("c") == 0
    assert box.status()["paused"]
    assert not [path for path in box.paths.checkpoints.iterdir() if path.suffix == ".done"]
    assert json.loads(box.paths.results("a").read_text()) == json.loads(measured)
    filler.unlink()
    running.wait_for("goes on: files can be written again")
    ended = running.end()
    assert ended.code == 0, ended.out
    assert [box.starts(task) for task in ("a", "b", "silent", "c")] == [1, 2, 2, 1]
    assert json.loads(box.paths.results("a").read_text()) == json.loads(measured)


def test_a_sweep_that_is_paused_can_be_left_and_resumed(box: Box, mount: Mount) -> None:
    mount("-o", "size=256k")
    box.write({"a": "print page of my own; gate; ok", "b": "ok"}, devices={"cpu_slots": 1})
    running = box.start()
    open_gate = box.reach_gate("a")
    filler = fill(box.root)
    open_gate()
    running.wait_for("paused: ")
    running.send(signal.SIGINT)
    running.wait_for("interrupted")
    running.send(signal.SIGINT)
    assert running.end().code == 130
    filler.unlink()
    assert box.run().code == 0
    assert (box.starts("a"), box.starts("b")) == (1, 1)


def test_folders_removed_in_mid_run_are_made_again_and_cost_nothing(box: Box) -> None:
    told = {"a": ["gate; ok", "ok"], "b": "ok"}
    box.write(told, devices={"cpu_slots": 1}, retries={"max_attempts": 1})
    running = box.start()
    open_gate = box.reach_gate("a")
    box.wait_for_journal("attempt_started", "a")  # after that it writes nothing by itself
    shutil.rmtree(box.paths.logs)
    shutil.rmtree(box.paths.checkpoints)
    open_gate()
    running.wait_for("paused: .*No such file or directory")
    ended = running.end()
    assert ended.code == 0, ended.out
    assert "lost: exit code 0, but its log, which had to prove it, is gone" in ended.out
    assert (box.starts("a"), box.starts("b")) == (2, 1)


def test_an_attempts_file_removed_in_mid_run_costs_nothing(box: Box) -> None:
    box.write({"a": "gate; ok", "b": ["helper; gate; ok", "ok"]}, retries={"max_attempts": 1})
    running = box.start()
    gates = [box.reach_gate("a"), box.reach_gate("b")]
    keeper = box.attempt("b")["keeper"]
    for task in ("a", "b"):
        box.paths.attempts(task).unlink()
    os.kill(keeper, signal.SIGKILL)
    running.wait_for("b: attempt 1 on cpu:[01]: lost")
    for open_gate in gates:
        open_gate()
    ended = running.end()
    assert ended.code == 0, ended.out
    assert box.done("a")["exit_code"] == 0
    assert box.done("a")["attempts"][0]["device"].startswith("cpu:")
    assert (box.starts("a"), box.starts("b")) == (1, 2)


def test_what_no_disk_is_to_blame_for_names_no_file(box: Box) -> None:
    told: list[Any] = []
    sweep = read_sweep(box.write({"a": "ok"}))
    clerk = Clerk(box.paths.checkpoints, told.append)
    records = Records(sweep, box.paths, Clock(), clerk, told.append, told.append)
    records.files_in_trouble(OSError(errno.EMFILE, "Too many open files", "a file"))
    records.files_in_trouble(OSError(errno.ENOSPC, "No space left on device"))
    assert [event.reason for event in told] == [
        "Too many open files",
        f"{box.paths.checkpoints}: No space left on device",
    ]


def test_a_disk_that_is_full_from_the_start(box: Box, mount: Mount) -> None:
    mount("-o", "size=64k")
    filler = fill(box.root)
    box.write({"a": "ok"})
    running = box.start()
    running.wait_for("paused: .*No space left on device")
    running.send(signal.SIGINT)
    assert running.end().code == 130
    assert box.starts() == 0
    filler.unlink()
    assert box.run().code == 0


def test_a_journal_removed_in_mid_run_is_begun_anew(box: Box) -> None:
    box.write({"a": "ok", "b": "gate; ok"}, devices={"cpu_slots": 1})
    running = box.start()
    open_gate = box.reach_gate("b")
    box.wait_for_journal("completed", "a")
    box.paths.journal.unlink()
    open_gate()
    assert running.end().code == 0
    assert box.journal("snapshot")
    assert [entry["task"] for entry in box.journal("completed")] == ["b"]
    assert set(box.states().values()) == {"completed"}
