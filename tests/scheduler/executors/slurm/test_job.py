"""What a job runs on its node, without a Slurm: the guard, its lease, and what it does to the tree below."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.executors.cluster.files import JobFiles, untaken
from scheduler.executors.slurm.job import main
from scheduler.storage.attempts_file import is_locked, read_attempts
from tests.helpers.slurm import SlurmLab
from tests.helpers.waiting import wait_until

REPOSITORY = Path(__file__).parents[4]
JOB = f"import sys; from {main.__module__} import main; sys.exit(main())"
# Children of its own, one of them deaf and in a session of its own; it says when all are there.
DEAF = "trap '' TERM; echo $$; while :; do sleep 1000; done"
FAMILY = f'setsid sh -c "{DEAF}" & sleep 1000 & echo $! $$; wait'.replace(
    "echo $$;", r"echo \$\$;", 1
)


class Node:
    """A folder that is the shared storage, and jobs that run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.attempts, self.log = folder / "a.attempts", folder / "a.log"
        self.files = JobFiles(folder / "jobs", "token")
        self.jobs: list[subprocess.Popen[bytes]] = []

    def order(
        self, script: str, *, lease: float = 60.0, time: float = 3600.0, grace: float = 0.2
    ) -> None:
        run: dict[str, Any] = {
            "type": "run",
            "command": ["sh", "-c", script],
            "environment": {},
            "start": {"attempt": 1, "device": "slurm:0", "task": "a", "token": "token"},
            "attempts_file": str(self.attempts),
            "attempts_size": 0,
            "done_file": str(self.folder / "a.done"),
            "log_file": str(self.log),
            "grace": grace,
        }
        where = {"folder": str(self.folder), "stderr": str(self.folder / "stderr")}
        terms = {"lease": lease, "time": time, "task": "a", "environment": dict(os.environ)}
        self.files.write_order({"run": run, **where, **terms})

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-c",
            JOB,
            str(REPOSITORY),
            str(self.files.order.parent),
            "token",
        ]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}
        self.jobs.append(subprocess.Popen(command, env=environment))
        return self.jobs[-1]

    def started(self, processes: int) -> list[int]:
        """Return the worker's processes, when as many have told of themselves."""
        wait_until(lambda: self.log.exists() and len(self.log.read_text().split()) >= processes)
        return [int(pid) for pid in self.log.read_text().split()]

    def end(self) -> dict[str, Any]:
        [attempt] = read_attempts(self.attempts)
        assert attempt.ended is not None
        return attempt.ended.as_json()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    for job in node.jobs:
        job.kill()
        job.wait()


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_an_order_is_carried_out_once(node: Node) -> None:
    node.order("echo ran")
    jobs = [node.start() for _ in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert node.log.read_text() == "ran\n"
    assert node.end()["code"] == 0
    answers = [json.loads(line)["type"] for line in node.files.answers.read_text().splitlines()]
    assert answers == ["started", "ended"]


def test_an_order_that_was_withdrawn_is_not_carried_out(node: Node) -> None:
    node.order("echo ran")
    assert node.files.withdraw()
    assert node.start().wait() == 0
    assert not node.log.exists()
    assert not node.files.withdraw()


def test_a_job_takes_the_oldest_order_and_says_so(node: Node) -> None:
    node.files = first = JobFiles.newest(node.folder / "jobs", "b")
    node.order("sleep 1000")
    node.files = JobFiles.newest(node.folder / "jobs", "a")
    node.order("echo another")
    job = node.start(SLURM_ARRAY_TASK_ID="3", SLURM_JOB_ID="17")
    wait_until(lambda: first.taken_by() == ("token", 3))
    assert untaken(node.folder / "jobs") == {"a"}
    first.revoke()
    assert job.wait(30) == 0


def test_a_job_that_was_requeued_takes_no_order(node: Node) -> None:
    """Its number is that of the attempt which it had taken before."""
    node.order("echo ran")
    assert node.start(SLURM_RESTART_COUNT="1").wait() == 0
    assert node.files.withdraw()


@pytest.mark.parametrize("grace", [0.2, 2.0])
def test_a_job_whose_permission_is_taken_back_ends_its_whole_tree(node: Node, grace: float) -> None:
    """A stop has its grace, however short the lease is, and is recorded."""
    node.order(f"trap '' TERM; {FAMILY}", lease=1.0, grace=grace)
    job = node.start()
    pids = node.started(3)
    assert not node.files.withdraw(), "it has begun"
    node.files.revoke()
    assert job.wait(30) == 0
    assert gone(pids)
    assert node.end()["stopped"] is True


def test_a_job_that_cannot_prove_to_be_alive_ends_its_whole_tree(node: Node) -> None:
    """As when the storage is cut off: the dispatcher may take it for dead from some time on."""
    node.order(FAMILY, lease=1.0)
    job = node.start()
    pids = node.started(3)
    out_of_reach = node.folder / "a link"
    out_of_reach.symlink_to("nowhere")
    out_of_reach.rename(node.files.running)
    job.wait(30)
    assert gone(pids)
    assert not is_locked(node.attempts)
    assert read_attempts(node.attempts)[0].ended is None, "it was no time to be polite"


@pytest.mark.parametrize("who", ["guard", "supervisor"])
def test_whoever_is_killed_nothing_is_left(node: Node, who: str) -> None:
    node.order(FAMILY)
    job = node.start()
    pids = node.started(3)
    wait_until(lambda: node.attempts.stat().st_size)
    supervisor = read_attempts(node.attempts)[0].started.supervisor
    assert supervisor is not None
    os.kill(job.pid if who == "guard" else supervisor, signal.SIGKILL)
    job.wait(30)
    wait_until(lambda: gone([*pids, supervisor]))


def test_a_worker_that_dies_of_the_stop_first_leaves_time_for_what_it_started(node: Node) -> None:
    """Slurm signals all at once: the supervisor then gives what is left its own time to end."""
    node.order(FAMILY, lease=1.0)
    job = node.start()
    pids = node.started(3)
    [worker] = [int(line.split()[1]) for line in node.log.read_text().splitlines() if " " in line]
    os.kill(worker, signal.SIGTERM)
    node.files.revoke()
    assert job.wait(30) == 0
    assert gone(pids)
    assert node.end()["stopped"] is True


@pytest.mark.parametrize("all_at_once", [False, True])
@pytest.mark.parametrize("time", [0.0, 3600.0])
def test_a_job_that_is_told_to_end(node: Node, time: float, all_at_once: bool) -> None:
    """By scancel, or because its time is over: Slurm may signal every process of it at the same time."""
    node.order("echo $$; exec sleep 1000", time=time)
    job = node.start()
    [worker] = node.started(1)
    for pid in (worker, job.pid) if all_at_once else (job.pid,):
        os.kill(pid, signal.SIGTERM)
    assert job.wait(30) == 0
    end = node.end()
    assert (end["signal"], end["stopped"]) == (signal.SIGTERM, True)
    assert end.get("out_of_time", False) is (time == 0.0)


def test_slurm_knows_better_than_the_clock_why_it_ends_a_job(node: Node, lab: SlurmLab) -> None:
    """An administrator may have given it more time; here somebody cancels it."""
    number = lab.call("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 1000").strip()
    node.order("echo $$; exec sleep 1000", time=0.0)
    job = node.start(SLURM_JOB_ID=number)
    node.started(1)
    job.terminate()
    assert job.wait(30) == 0
    lab.call("scancel", number)
    assert node.end()["stopped"]
    assert "out_of_time" not in node.end()


def test_a_job_starts_without_what_reads_sweep_files() -> None:
    """Each attempt pays for it, on its node."""
    look = (
        f"import sys, {main.__module__}; sys.exit(bool({{'pydantic', 'yaml'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", look], cwd=REPOSITORY, check=False).returncode == 0
