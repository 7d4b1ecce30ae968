"""Steps of the job that this process is in: what takes attempts where the job has several nodes.

A step for each attempt, and not one for each node: Slurm gives each its GPU and its cores, on whichever node
has them, and what runs there is the same as in a job of its own, with its lease, its files and its guard.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, NamedTuple

from scheduler.executors.slurm.commands import Limits, Listed, SlurmError, Submission, phrase

_KEPT = 60.0  # seconds for which a step that has ended is listed
_PATIENCE = 60.0  # seconds for the nodes of a job to answer
# Of Slurm's variables, those that say which job a step is for. All else would be taken for options, such as
# the whole job's memory for each step.
_KEEP = ("SLURM_CONF", "SLURM_JOB_ID")
_LOOK = (
    "import os; e = os.environ; "
    "print(e['SLURMD_NODENAME'], e.get('SLURM_CPUS_ON_NODE', 1), e.get('CUDA_VISIBLE_DEVICES') or '-')"
)


class NodeShare(NamedTuple):
    """What a job has of a node."""

    node: str
    cpus: int
    gpus: int


@dataclass(slots=True)
class _Step:
    token: str
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    # When it was seen to have ended (monotonic).
    ended: float | None = None

    def reason(self) -> str:
        self.said.seek(0)
        text = self.said.read().decode(errors="replace")
        return phrase("srun", text, self.process.returncode)


@dataclass(slots=True)
class Steps:
    """Starts steps, and tells of them as of jobs that are no arrays."""

    job: int
    environment: Mapping[str, str]
    _steps: dict[int, _Step] = field(default_factory=dict)
    _count: int = 0

    def submit(self, asked: Submission) -> int:
        """Start a step, which begins when its part of the job is free; return its number here.

        Raises:
            SlurmError: srun cannot be started.
        """
        assert (asked.elements, asked.at_once) == (1, None)
        settings = asked.settings
        said = tempfile.TemporaryFile()  # noqa: SIM115  # until the step is forgotten
        gres = settings.gres or "none"
        options = ["--exact", "--nodes=1", "--ntasks=1", "--mem=0", f"--gres={gres}", "--chdir=/"]
        options += [f"--cpus-per-task={settings.cpus or 1}", f"--job-name={asked.mark.array}"]
        options += [f"--exclude={','.join(asked.exclude)}"] if asked.exclude else []
        try:
            process = subprocess.Popen(
                ["srun", "--quiet", *options, "--input=none", "--output=/dev/null", *asked.words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=step_environment(self.environment),
                start_new_session=True,  # a step is not interrupted by Ctrl-C
            )
        except OSError as error:
            said.close()
            raise SlurmError(f"srun cannot be started: {error.strerror}") from None
        self._count += 1
        self._steps[self._count] = _Step(asked.mark.array, process, said)
        return self._count

    def exclude(self, number: int, nodes: Sequence[str]) -> None:
        """Do nothing: a step that finds that its node lacks something ends."""

    def cancel(self, names: Sequence[str], *, waiting: bool = False) -> None:
        """Do nothing: srun and scancel kill a step without giving it time to end.

        One that has begun sees within some seconds that its permission is gone; another finds no order.
        """

    def jobs(self, folder: str) -> list[Listed]:
        """Return the steps that were started here, ended ones for a while."""
        listed, now = [], time.monotonic()
        for number, step in list(self._steps.items()):
            code = step.process.poll()
            if code is not None and step.ended is None:
                step.ended = now
            if step.ended is not None and now > step.ended + _KEPT:
                step.said.close()
                del self._steps[number]
                continue
            # Of one that did not end by itself, srun may have lost sight.
            state = "RUNNING" if code is None else "COMPLETED" if code == 0 else "NODE_FAIL"
            reason = "None" if not code else step.reason()
            listed.append(Listed(step.token, number, self.job, None, None, state, reason))
        return listed

    def limits(self) -> Limits:
        """Return that there are no arrays of steps."""
        return Limits(array_size=0, jobs=2 * 10_000)

    def allow(self, number: int, at_once: int) -> None:
        """Do nothing: there are no arrays."""


def step_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which srun makes a step of the job."""
    others = {n: v for n, v in environment.items() if not n.startswith(("SLURM_", "SBATCH_"))}
    return others | {name: environment[name] for name in _KEEP if name in environment}


def look_at_nodes(number: int, environment: Mapping[str, str]) -> list[NodeShare]:
    """Ask so many nodes, all those of the job, what it has of them.

    Raises:
        SlurmError: one does not answer, or has no such Python.
    """
    each = [f"--nodes={number}", f"--ntasks={number}", "--ntasks-per-node=1"]
    look = ["--overlap", "--mem=0", "--quiet", sys.executable, "-I", "-c", _LOOK]
    try:
        done = subprocess.run(
            ["srun", *each, *look],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=step_environment(environment),
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"srun has not come to an end on {number} nodes") from None
    except OSError as error:
        raise SlurmError(f"srun cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        raise SlurmError(phrase("srun", done.stderr, done.returncode))
    shares = []
    for line in done.stdout.splitlines():
        node, cpus, gpus = line.split()
        shares.append(NodeShare(node, int(cpus), 0 if gpus == "-" else len(gpus.split(","))))
    return sorted(shares)


def room_for_steps(shares: Sequence[NodeShare], gpus: int, without: int) -> tuple[int, int]:
    """Return how many attempts there is room for, and how many cores each can have.

    Args:
        shares: of all nodes.
        gpus: of each attempt; 0: it has none.
        without: how many attempts a node takes that have none.
    """
    rooms = [(share.gpus // gpus if gpus else without, share.cpus) for share in shares]
    cores = [cpus // room for room, cpus in rooms if room]
    return sum(room for room, _ in rooms), max(1, min(cores, default=1))
