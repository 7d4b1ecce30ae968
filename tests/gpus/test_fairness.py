"""Several sweeps on the same GPUs: who gets the next one that falls free."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from scheduler.devices.fairness.notes import PREFIX
from tests.gpus.test_gpu_sweep import Run, Runs, runs  # noqa: F401
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.sweep_runner import PATIENCE, end_processes_of
from tests.helpers.waiting import readable

# Says who it is and where it runs, then holds its GPU until the test lets it end.
WORKER = """
import os, sys
from pathlib import Path
folder, sweep = sys.argv[1:3]
gpu, task = os.environ["CUDA_VISIBLE_DEVICES"], os.environ["SWEEP_TASK"]
(Path(os.environ["FAKE_NVML"], "use", gpu) / str(os.getpid())).write_text(str(4 * 2**30))
gate = os.path.join(folder, f"gate {sweep} {task}")
os.mkfifo(gate)
with open(os.path.join(folder, "started"), "w") as started:
    started.write(f"{sweep} {task} {gpu}\\n")
with open(gate):
    pass
print("Successfully completed")
"""

# So that only the best claim counts, not who is how fast: a device is kept for whoever is slow, too, and
# the notes are read as often as they are needed.
UNHURRIED = """
from scheduler.devices.fairness import claims, notes
claims.TO_TAKE = claims.LONGEST_KEPT = 600.0
notes._REST = 0
"""


class Box:
    """Sweeps whose tasks end one by one, when they are told to."""

    def __init__(self, runs: Runs) -> None:  # noqa: F811
        self._runs = runs
        self.folder = runs.folder
        (self.folder / "worker.py").write_text(WORKER)
        os.mkfifo(self.folder / "started")
        self._started = os.open(self.folder / "started", os.O_RDWR)
        self._unread = b""
        # By the process of its dispatcher.
        self._sweeps: dict[int, str] = {}
        # By sweep: the tasks that run, each with its GPU.
        self.at_work: dict[str, list[tuple[str, str]]] = defaultdict(list)

    def run(self, name: str, **sections: object) -> Run:
        command = ["python", "-I", "-S", str(self.folder / "worker.py"), str(self.folder), name]
        sweep = self._runs.sweep(
            name,
            [],
            matrix={"number": [f"t{n}" for n in range(20)]},
            exclude=[],
            include=[],
            worker={"command": command},
            retries={"backoff": "10ms"},
            **sections,
        )
        run = self._runs.start(sweep)
        self._sweeps[run.process.pid] = name
        return run

    def be_unhurried(self) -> None:
        (self.folder / "sitecustomize.py").write_text(UNHURRIED)
        self._runs.environment["PYTHONPATH"] += f":{self.folder}"

    def next_start(self) -> str:
        """Return which sweep starts the next task."""
        while b"\n" not in self._unread:
            assert readable(self._started, PATIENCE), "nothing was started"
            self._unread += os.read(self._started, 4096)
        line, self._unread = self._unread.split(b"\n", 1)
        sweep, task, gpu = line.decode().split()
        self.at_work[sweep].append((task, gpu))
        return sweep

    def next_starts(self, number: int) -> list[str]:
        return [self.next_start() for _ in range(number)]

    def end_one_of(self, sweep: str, gpu: str | None = None) -> None:
        """Let a sweep's oldest task end, or the oldest on a GPU, once all have noted what they use."""
        self._wait_until_noted()
        ending = next(one for one in self.at_work[sweep] if gpu in (None, one[1]))
        self.at_work[sweep].remove(ending)
        os.close(os.open(self.folder / f"gate {sweep} {ending[0]}", os.O_WRONLY))

    def _wait_until_noted(self) -> None:
        """Wait until each claim that stands says how many GPUs its sweep uses by now."""
        patience = time.monotonic() + PATIENCE
        while any(noted != used for noted, used in self._notes()):
            assert time.monotonic() < patience, f"notes: {list(self._notes())}"
            time.sleep(0.02)

    def _notes(self) -> Iterator[tuple[int, int]]:
        """Yield the number of GPUs in use that each dispatcher's note has, and how many there are."""
        for path in (self.folder / "leases").glob(f"{PREFIX}[0-9]*"):
            with suppress(FileNotFoundError):  # withdrawn meanwhile
                if content := path.read_text():
                    note = json.loads(content)
                    used = {gpu for _, gpu in self.at_work[self._sweeps[note["pid"]]]}
                    yield note["in_use"], len(used)

    def after_one_of(self, sweep: str) -> str:
        """Return which sweep starts a task after one of that sweep has ended."""
        self.end_one_of(sweep)
        return self.next_start()

    def wait_for(self, sweep: str, words: str) -> None:
        """Wait until the sweep's journal has these words."""
        journal, patience = (
            self.folder / "logs" / sweep / "journal.jsonl",
            time.monotonic() + PATIENCE,
        )
        while words not in (journal.read_text() if journal.exists() else ""):
            assert time.monotonic() < patience, f"{sweep} never had {words!r}"
            time.sleep(0.02)

    def status(self, sweep: str) -> dict[str, Any]:
        words = ["status", str(self.folder / f"{sweep}.yaml"), "--root", str(self.folder), "--json"]
        command = [sys.executable, "-m", "scheduler", *words]
        return json.loads(subprocess.check_output(command, env=self._runs.environment))

    def clean_up(self) -> None:
        """End what runs; the dispatchers first, which would start other tasks."""
        end_processes_of(self.folder)
        os.close(self._started)


ASKS = '"share_asked", "on": true'


@pytest.fixture
def box(runs: Runs) -> Iterator[Box]:  # noqa: F811
    box = Box(runs)
    box.be_unhurried()
    yield box
    box.clean_up()


@pytest.fixture
def hurried_box(runs: Runs) -> Iterator[Box]:  # noqa: F811
    """Where a GPU is kept for no longer than it is in earnest."""
    box = Box(runs)
    yield box
    box.clean_up()


def test_a_long_sweep_gives_half_of_the_gpus_to_one_that_comes_later(
    box: Box, fake_nvml: FakeNvml
) -> None:
    fake_nvml.gpus(4)
    box.run("long")
    assert box.next_starts(4) == ["long"] * 4
    box.run("later")
    box.wait_for("later", ASKS)
    assert box.after_one_of("long") == "later"
    assert box.after_one_of("long") == "later"
    # Each has two: nobody has a better claim than who had the device.
    for sweep in ("long", "later", "long"):
        assert box.after_one_of(sweep) == sweep


def test_a_sweep_of_higher_priority_gets_all_that_falls_free(box: Box, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(3)
    box.run("long", priority=-1)
    assert box.next_starts(3) == ["long"] * 3
    box.run("urgent")
    box.wait_for("urgent", ASKS)
    assert [box.after_one_of("long") for _ in range(3)] == ["urgent"] * 3
    assert box.after_one_of("urgent") == "urgent"
    assert box.status("long")["priority"] == -1


def test_three_sweeps_come_to_one_gpu_each(box: Box, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(3)
    box.run("long")
    assert box.next_starts(3) == ["long"] * 3
    for name in ("second", "third"):
        box.run(name)
        box.wait_for(name, ASKS)
    assert [box.after_one_of("long") for _ in range(2)] == ["second", "third"]
    for sweep in ("long", "second", "third"):
        assert box.after_one_of(sweep) == sweep


def test_a_dispatcher_that_was_killed_claims_nothing(box: Box, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(2)
    box.run("long")
    assert box.next_starts(2) == ["long"] * 2
    later = box.run("later")
    box.wait_for("later", ASKS)
    later.process.kill()
    later.process.wait()
    assert box.after_one_of("long") == "long"
    box.wait_for("long", '"attempt_started", "task": "t2"')
    assert "left to another" not in (box.folder / "logs/long/journal.jsonl").read_text()


def test_who_does_not_take_a_gpu_is_waited_for_once_and_status_says_so(
    hurried_box: Box, fake_nvml: FakeNvml
) -> None:
    box = hurried_box
    fake_nvml.gpus(1)
    leases = box.folder / "leases"
    leases.mkdir()
    leases.chmod(0o1777)
    os.mkfifo(leases / "waits-pipe")
    (leases / "waits-link").symlink_to("/dev/zero")
    (leases / "waits-folder").mkdir()
    long = box.run("long")
    assert box.next_start() == "long"
    later = box.run("later")
    box.wait_for("later", ASKS)
    status = box.status("later")
    assert status["waits_for_share"]
    assert status["tasks"][0]["waits"].endswith(
        ": waits for its fair share of what other sweeps use"
    )
    later.process.send_signal(signal.SIGSTOP)
    box.end_one_of("long")
    box.wait_for("long", "left to another sweep")
    long.process.send_signal(signal.SIGSTOP)  # its patience would end before a slow status looks
    [gpu] = box.status("long")["devices"]
    long.process.send_signal(signal.SIGCONT)
    assert re.fullmatch(
        rf"left to another sweep \(process {later.process.pid}, user \w+: it has waited longer\)",
        gpu["reason"],
    )
    assert box.next_start() == "long"  # in the end
    later.process.send_signal(signal.SIGCONT)
    assert box.after_one_of("long") == "long"


def test_sharers_leave_a_gpu_by_starting_nothing_more_on_it(box: Box, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(2)
    box.run("long", devices={"idle_for": "0s", "share": {"memory": "8GiB", "at_most": 2}})
    assert box.next_starts(4) == ["long"] * 4
    box.run("later")
    box.wait_for("later", ASKS)
    left, kept = sorted({gpu for _, gpu in box.at_work["long"]})
    box.end_one_of("long", left)
    box.wait_for("long", '"attempt_ended"')
    box.end_one_of("long", left)
    assert box.next_start() == "later"
    box.end_one_of("long", kept)
    assert box.next_start() == "long"
    assert {gpu for _, gpu in box.at_work["long"]} == {kept}


def test_a_sweep_asks_for_no_more_than_it_may_use(box: Box, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(3)
    box.run("long")
    assert box.next_starts(3) == ["long"] * 3
    box.run("one", devices={"idle_for": "0s", "at_most": 1}, priority=100)
    box.wait_for("one", ASKS)
    assert box.after_one_of("long") == "one"
    box.wait_for("one", '"share_asked", "on": false')
    assert box.after_one_of("long") == "long"
