"""Faults of every kind on a real Slurm, at random moments: no task is lost, none runs twice at once.

What a seed means is repeatable: which faults, in which order, after which pauses, of which tasks and nodes.
When they meet what runs depends on the machine. `pytest --long FILE --seeds 1-20` runs others, or one again.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.slurm import Daemon, SlurmLab, parent
from tests.helpers.sweep_runner import Running, SweepRunner
from tests.helpers.waiting import wait_until

TASKS = [f"t{number:02}" for number in range(24)]
LONGEST_PAUSE = 1.5  # seconds between two faults
PATIENCE = 240.0  # seconds for what is left after the last one: Slurm has its own times
SLURM = {"kind": "slurm", "time": "5m", "lease": "10s", "at_most": 6}
# Every fault is a failed attempt at worst, and what is tried here is not who is given up.
RETRIES = {"max_attempts": 100, "backoff": "1ms", "stop_after": "none"}


@pytest.fixture
def sweep(runner: SweepRunner, lab: SlurmLab) -> Iterator[SweepRunner]:
    """A runner whose sweeps run on the cluster, which is whole again afterwards."""
    runner.environment |= lab.environment
    yield runner
    lab.mend()
    lab.call("scancel", "--user=root")


class Round:
    """A sweep, and what happens to it."""

    def __init__(self, sweep: SweepRunner, lab: SlurmLab, seed: int) -> None:
        self.sweep, self.lab, self.chance = sweep, lab, random.Random(seed)
        # Of a node that is cut off until the sweep is over.
        self.cut_off: Daemon | None = None
        self.running: Running | None = None
        # What is to be put right, and when (monotonic).
        self._later: list[tuple[float, Callable[[], object]]] = []
        self.story: list[str] = []
        often: list[Callable[[], object]] = [
            *(self.kill_dispatcher, self.kill_worker, self.kill_node, self.kill_controller),
            *(self.pause_node, self.cancel, self.requeue, self.refuse_jobs),
            *(self.kill_guard, self.kill_supervisor),
        ]
        self.faults = 2 * often + [self.cut_node_off]
        self.chance.shuffle(self.faults)

    def play(self) -> None:
        """Run the sweep to its end, with all faults on the way."""
        steps = {task: f"sleep {self.chance.uniform(0.5, 4):.2f}; ok" for task in TASKS}
        self.sweep.write(steps, executor=SLURM, retries=RETRIES, devices={"idle_for": "0s"})
        self.begin()
        for fault in self.faults:
            self.wait(self.chance.uniform(0, LONGEST_PAUSE))
            if self.is_over:
                break
            said = fault()
            self.story.append(f"{fault.__name__}: {said or ''}")
        wait_until(self._goes_on, PATIENCE)

    def begin(self) -> None:
        self.running = self.sweep.start()

    @property
    def is_over(self) -> bool:
        """Whether the dispatcher has ended; one that found no controller at its start is started again."""
        assert self.running is not None
        if self.running.process.poll() is None:
            return False
        ended = self.running.end()
        if ended.code == 2 and "Slurm does not answer" in ended.err:
            self.begin()
            return False
        return True

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self._goes_on() or time.monotonic() >= until, seconds + 1)

    def _goes_on(self) -> bool:
        """Do what an administrator does meanwhile; say whether the sweep is over."""
        now = time.monotonic()
        for at, mend in [due for due in self._later if due[0] <= now]:
            self._later.remove((at, mend))
            mend()
        self.lab.resume_nodes(node for node in self.lab.nodes if node is not self.cut_off)
        return self.is_over

    def later(self, mend: Callable[[], object]) -> float:
        """Have it put right in a while; return when."""
        pause = self.chance.uniform(0, 3)
        self._later.append((time.monotonic() + pause, mend))
        return round(pause, 2)

    # --- the faults ----------------------------------------------------------------------------

    def kill_dispatcher(self) -> str:
        assert self.running is not None
        self.running.kill()
        self.begin()
        return ""

    def kill_controller(self) -> str:
        self.lab.controller.end()
        return f"for {self.later(self.lab.controller.start_if_dead)} s"

    def kill_node(self) -> str:
        node = self.chance.choice(self.lab.nodes)
        if node is self.cut_off:
            return "is cut off"
        node.end()
        return f"{self.lab.nodes.index(node)} for {self.later(node.start_if_dead)} s"

    def pause_node(self) -> str:
        node = self.chance.choice(self.lab.nodes)
        if node is self.cut_off or not node.is_up:
            return "is cut off"
        node.pause()
        return f"{self.lab.nodes.index(node)} for {self.later(node.go_on)} s"

    def cut_node_off(self) -> str:
        """Stop a node's daemon for good: what Slurm sends it arrives when the sweep is over, if ever."""
        node = self.chance.choice(self.lab.nodes)
        node.start_if_dead()
        node.pause()
        self.cut_off = node
        return str(self.lab.nodes.index(node))

    def cancel(self) -> str:
        """Have somebody else cancel a job, in the queue or running."""
        return self._to_a_job("scancel")

    def requeue(self) -> str:
        def allow_and_do(number: str) -> None:
            self.lab.call("scontrol", "update", f"JobId={number}", "Requeue=1")
            self.lab.call("scontrol", "requeue", number)

        return self._to_a_job(allow_and_do)

    def refuse_jobs(self) -> str:
        """Have Slurm take no jobs, as when its queue is full; what it has goes on."""
        with contextlib.suppress(AssertionError):
            self.lab.call("scontrol", "update", "PartitionName=main", "State=DRAIN")
        return f"for {self.later(self.take_jobs)} s"

    def take_jobs(self) -> None:
        try:
            self.lab.call("scontrol", "update", "PartitionName=main", "State=UP")
        except AssertionError:  # its controller is away
            self.later(self.take_jobs)

    def kill_worker(self) -> str:
        return self._kill(0)

    def kill_supervisor(self) -> str:
        return self._kill(1)

    def kill_guard(self) -> str:
        return self._kill(2)

    def _kill(self, above: int) -> str:
        """Kill a running worker, or an ancestor of one."""
        workers = self._workers()
        if not workers:
            return "none runs"
        task, pid = self.chance.choice(workers)
        with contextlib.suppress(OSError):
            for _ in range(above):
                pid = parent(pid)
            os.kill(pid, signal.SIGKILL)
        return task

    def _workers(self) -> list[tuple[str, int]]:
        """Return the tasks and processes of workers that run."""
        over = {entry["pid"] for entry in self.sweep.logged("end")}
        return [
            (entry["task"], entry["pid"])
            for entry in self.sweep.logged("start")
            if entry["pid"] not in over and _is_worker(entry["pid"])
        ]

    def _to_a_job(self, what: str | Callable[[str], None]) -> str:
        try:
            numbers = sorted(self.lab.jobs_of_attempts())
            if not numbers:
                return "there is none"
            number = self.chance.choice(numbers)
            if isinstance(what, str):
                self.lab.call(what, number)
            else:
                what(number)
        except AssertionError as error:  # its controller is away, or the job has just ended
            return f"failed: {error}"
        return number

    # --- what came of it -----------------------------------------------------------------------

    def check(self) -> None:
        """Make sure that every task was completed, by one attempt at a time, and nothing else ever begins."""
        assert self.running is not None
        assert self.running.end().code == 0
        assert set(self.sweep.states().values()) == {"completed"}
        assert not list(self.sweep.paths.jobs.iterdir())
        begun = self.sweep.starts()
        self.lab.mend()
        for node in ("n1", "n2"):  # what it was sent before has then begun, too
            self.lab.call("srun", "-t", "1", "-w", node, "true")
        assert self.sweep.starts() == begun, "and none of a task beside another"
        for task in TASKS:
            assert 1 <= self.sweep.starts(task) <= len(self.sweep.done(task)["attempts"])


def _is_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"scripted_worker.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@pytest.mark.long
def test_faults_at_random(sweep: SweepRunner, lab: SlurmLab, fault_seed: int) -> None:
    whole = Round(sweep, lab, fault_seed)
    try:
        whole.play()
        whole.check()
    finally:
        print(f"seed {fault_seed}:", *whole.story, sep="\n  ")
