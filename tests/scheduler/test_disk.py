"""Disks that are full and folders that are read-only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scheduler.box import Box

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
            "c": "ok",
        },
        retries={"max_attempts": 1},
    )
    running = box.start()
    gates = [box.reach_gate("a"), box.reach_gate("b")]
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
    assert (box.starts("a"), box.starts("b"), box.starts("c")) == (1, 2, 1)
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
