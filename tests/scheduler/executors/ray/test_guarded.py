"""The guard on a node, without a Ray: what it does to the tree below when its terms are over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.executors.ray.guarded import main
from scheduler.storage.attempts_file import read_attempts
from tests.helpers.waiting import wait_until

REPOSITORY = Path(__file__).parents[4]
PROGRAM = f"import sys; from {main.__module__} import main; sys.exit(main())"
FAMILY = "setsid sleep 1000 & echo $! $$; wait"


class Guarded:
    """A guard, and an attempt below it."""

    def __init__(self, folder: Path, lease: float) -> None:
        self.attempts, self.log = folder / "attempts", folder / "log"
        run = {
            "type": "run",
            "command": ["sh", "-c", FAMILY],
            "environment": {},
            "start": {"attempt": 1, "device": "ray:0", "task": "a", "token": "t"},
            "attempts_file": str(self.attempts),
            "attempts_size": 0,
            "done_file": str(folder / "done"),
            "log_file": str(self.log),
            "grace": 0.2,
        }
        order: dict[str, Any] = {"folder": str(folder), "lease": lease, "run": run}
        order |= {"environment": dict(os.environ), "place": {"node": "here", "actor": "x"}}
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        self.tell(json.dumps(order).encode() + b"\n")
        wait_until(lambda: self.log.exists() and len(self.log.read_text().split()) >= 2)
        self.pids = [int(pid) for pid in self.log.read_text().split()]

    def tell(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.wait(30)
        assert not any(Path(f"/proc/{pid}").exists() for pid in self.pids)


@pytest.fixture(params=[60.0])
def guarded(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path, request.param)
    yield guarded
    guarded.process.kill()
    guarded.process.communicate()


@pytest.mark.parametrize("how", ["is stopped", "loses its actor"])
def test_a_stop_ends_the_whole_tree_and_is_recorded(guarded: Guarded, how: str) -> None:
    if how == "is stopped":
        guarded.tell(b"rs")
    else:
        assert guarded.process.stdin is not None
        guarded.process.stdin.close()
    guarded.end()
    [attempt] = read_attempts(guarded.attempts)
    assert attempt.started.place == {"node": "here", "actor": "x", "gpus": []}
    assert attempt.ended is not None
    assert attempt.ended.stopped


@pytest.mark.parametrize("guarded", [1.0], indirect=True)
def test_terms_that_nobody_renews_end_the_whole_tree(guarded: Guarded) -> None:
    guarded.end()
