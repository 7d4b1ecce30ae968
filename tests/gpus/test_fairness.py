"""Several sweeps on the same GPUs: who gets the next one that falls free."""

from __future__ import annotations

import os
import select
import time
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.gpus.test_gpu_sweep import Run, Runs, runs  # noqa: F401
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.sweep_runner import PATIENCE

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


class Box:
    """Sweeps whose tasks end one by one, when they are told to."""

    def __init__(self, runs: Runs) -> None:  # noqa: F811
        self._runs = runs
        self.folder = runs.folder
        (self.folder / "worker.py").write_text(WORKER)
        os.mkfifo(self.folder / "started")
        self._started = os.open(self.folder / "started", os.O_RDWR)
        self._unread = b""
        # By sweep: the tasks that run.
        self.at_work: dict[str, list[str]] = defaultdict(list)

    def run(self, name: str, tasks: int = 20, **sections: object) -> Run:
        command = ["python", "-I", "-S", str(self.folder / "worker.py"), str(self.folder), name]
        sweep = self._runs.sweep(
            name,
            [],
            matrix={"number": [f"t{n}" for n in range(tasks)]},
            exclude=[],
            include=[],
            worker={"command": command},
            retries={"backoff": "10ms"},
            **sections,
        )
        return self._runs.start(sweep)

    def next_start(self) -> str:
        """Return which sweep starts the next task."""
        while b"\n" not in self._unread:
            assert select.select([self._started], [], [], PATIENCE)[0], "nothing was started"
            self._unread += os.read(self._started, 4096)
        line, self._unread = self._unread.split(b"\n", 1)
        sweep, task, _ = line.decode().split()
        self.at_work[sweep].append(task)
        return sweep

    def end_one_of(self, sweep: str) -> str:
        """Let a sweep's oldest task end; return which sweep starts the next one."""
        task = self.at_work[sweep].pop(0)
        os.close(os.open(self.folder / f"gate {sweep} {task}", os.O_WRONLY))
        return self.next_start()

    def wait_for_claim(self, sweep: str) -> None:
        """Wait until the sweep has asked others for its share."""
        journal, patience = (
            self.folder / "logs" / sweep / "journal.jsonl",
            time.monotonic() + PATIENCE,
        )
        while '"share_asked"' not in (journal.read_text() if journal.exists() else ""):
            assert time.monotonic() < patience, f"{sweep} never asked for its share"
            time.sleep(0.05)

    def clean_up(self) -> None:
        os.close(self._started)


@pytest.fixture
def box(runs: Runs) -> Iterator[Box]:  # noqa: F811
    box = Box(runs)
    yield box
    box.clean_up()


def test_a_long_sweep_gives_half_of_the_gpus_to_one_that_comes_later(
    box: Box, fake_nvml: FakeNvml
) -> None:
    fake_nvml.gpus(4)
    box.run("long")
    assert [box.next_start() for _ in range(4)] == ["long"] * 4
    box.run("later")
    box.wait_for_claim("later")
    assert box.end_one_of("long") == "later"
    assert box.end_one_of("long") == "later"
    # Each has two: nobody has a better claim than who had the device.
    for sweep in ("long", "later", "long"):
        assert box.end_one_of(sweep) == sweep
