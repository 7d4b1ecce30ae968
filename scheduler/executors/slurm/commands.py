"""Slurm's own commands: what they are asked, and what is made of their answers.

Nothing here passes through a shell. What squeue says is told apart by tabs, which no id of a task and none of
Slurm's words holds. A job is known by the comment that it was submitted with, never by its number: after a
controller's crash, numbers come round again.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from scheduler.config.printable import printable
from scheduler.config.sweep import SlurmSettings
from scheduler.config.units import format_duration

PATIENCE = 30.0  # seconds for one command; with its controller down, each takes about 10
_SCRIPT = Path(__file__).with_name("job.sh")
# Of our environment, what the commands go by: a job of ours gets the rest by its order. The variables of
# an allocation that this process may run in are none of a new job's.
_PASSED = ("PATH", "HOME", "USER", "LOGNAME", "SLURM_CONF", "LD_LIBRARY_PATH")
_MARK = "sweep-attempt"
# States of nodes that answer and take jobs; a mark behind one (``idle*``) says that they do not.
_UP = frozenset({"idle", "mixed", "allocated", "completing"})
# Slurm's word for why a job is ended whose time is over: from the moment on at which it is told to end.
TIME_LIMIT = "TimeLimit"
_FORMAT = "%A\t%T\t%r\t%N\t%k"


class SlurmError(Exception):
    """A command of Slurm's has failed; the message is what it said, as a phrase."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a job's comment says: whose attempt it is."""

    # Of the attempt: no other one ever had it.
    token: str
    attempt: int
    sweep: str
    task: str

    def __str__(self) -> str:
        return f"{_MARK} {self.token} {self.attempt} {self.sweep}/{self.task}"


@dataclass(frozen=True, slots=True)
class Listed:
    """A job as squeue lists it."""

    number: int
    # In Slurm's words: PENDING, RUNNING, NODE_FAIL, …
    state: str
    # Why it is in that state, as one word or a few.
    reason: str
    node: str


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes of a partition that are alike, as sinfo lists them."""

    partition: str
    nodes: int
    cpus: int
    memory: int  # bytes of one
    gres: str
    # They take jobs now, or will once what runs there has ended.
    up: bool


def submit(settings: SlurmSettings, mark: Mark, words: Sequence[str]) -> int:
    """Have Slurm run these words as a batch job; return its number.

    Raises:
        SlurmError: Slurm does not take it now. In rare cases it is in the queue all the same.
    """
    name = f"{mark.sweep}/{mark.task}"
    shown = (f"--comment={mark}", f"--job-name={name}")
    said = _call(["sbatch", "--parsable", *shown, *_options(settings), str(_SCRIPT), *words])
    number = re.match(r"\d+", said)
    if number is None:
        raise SlurmError(f"sbatch said {printable(said)!r} in place of a job's number")
    return int(number[0])


def test_submission(settings: SlurmSettings) -> None:
    """Ask Slurm whether it would take such a job; nothing is submitted.

    Raises:
        SlurmError: it would not; the message says why.
    """
    _call(["sbatch", "--test-only", *_options(settings), str(_SCRIPT), "true"])


def cancel(number: int) -> None:
    """Have Slurm end a job: TERM to all its processes, KILL after Slurm's KillWait.

    Raises:
        SlurmError: it was not reached.
    """
    _call(["scancel", str(number)])


def reason_of(number: int, patience: float) -> str:
    """Return in one of Slurm's words why a job is in the state that it is in.

    Args:
        number: the job's.
        patience: seconds in which Slurm must answer.

    Raises:
        SlurmError: it does not, or knows no such job.
    """
    words = ["squeue", "--noheader", "--states=all", f"--jobs={number}", "-o", "%r"]
    return _call(words, patience).strip()


def state_of(number: int) -> str | None:
    """Return a job's state in Slurm's words; None: Slurm does not know it, or not any more.

    Raises:
        SlurmError: Slurm does not answer.
    """
    try:
        said = _call(["squeue", "--noheader", "--states=all", f"--jobs={number}", "-o", "%T"])
    except SlurmError as error:
        if "Invalid job id" in str(error):
            return None
        raise
    return said.strip() or None


def end_of(number: int) -> float | None:
    """Return when a job's time is over (time of day, seconds); None: its time has no limit.

    Raises:
        SlurmError: Slurm does not answer, or knows no such job.
    """
    words = ["squeue", "--noheader", "--states=all", f"--jobs={number}", "-o", "%e"]
    said = _call(words, variables={"TZ": "UTC"}).strip()
    try:
        return datetime.fromisoformat(f"{said}+00:00").timestamp()
    except ValueError:  # N/A
        return None


def gpus_of(node: str) -> int:
    """Return how many GPUs a node has, as Slurm counts them.

    Raises:
        SlurmError: Slurm does not answer.
    """
    said = _call(["sinfo", "--noheader", f"--nodes={node}", "-o", "%G"]).split("\n")[0]
    return sum(int(n) for n in re.findall(r"\bgpu:(?:[^:(,]+:)?(\d+)", said))


def jobs() -> dict[str, Listed]:
    """Return this user's jobs that are attempts, by their tokens; ended ones for as long as Slurm keeps them.

    Raises:
        SlurmError: Slurm does not answer.
    """
    return dict(parse_jobs(_call(["squeue", "--noheader", "--me", "--states=all", "-o", _FORMAT])))


def parse_jobs(said: str) -> Iterator[tuple[str, Listed]]:
    """Yield token and job for each line of squeue's that is about an attempt."""
    for line in said.split("\n"):
        number, *fields = line.split("\t", 4)
        if len(fields) < 4 or not number.isdecimal():
            continue
        state, reason, node, comment = fields
        mark = comment.split(" ", 2)
        if mark[0] == _MARK and len(mark) == 3:
            yield mark[1], Listed(int(number), state, reason, node)


def node_groups() -> list[NodeGroup]:
    """Return what all partitions are made of.

    Raises:
        SlurmError: Slurm does not answer.
    """
    said = _call(["sinfo", "--noheader", "-o", "%R\t%D\t%c\t%m\t%G\t%T"])
    groups = []
    for line in said.splitlines():
        partition, nodes, cpus, memory, gres, state = line.split("\t", 5)
        size = int(memory.rstrip("+")) * 2**20
        up = state.strip() in _UP
        groups.append(
            NodeGroup(partition, int(nodes), int(cpus.rstrip("+")), size, gres.strip(), up)
        )
    return groups


def default_partition() -> str | None:
    """Return the partition of jobs that name none.

    Raises:
        SlurmError: Slurm does not answer.
    """
    names = _call(["sinfo", "--noheader", "-o", "%P"]).split()
    return next((name.removesuffix("*") for name in names if name.endswith("*")), None)


def _options(settings: SlurmSettings) -> list[str]:
    """Return what a job asks for; where it runs and what it prints are its order's business."""
    memory = None if settings.memory is None else f"{-(-settings.memory // 2**20)}M"
    wishes = {
        "partition": settings.partition,
        "gres": settings.gres or None,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "cpus-per-task": settings.cpus,
        "mem": memory,
        "time": -int(-settings.time // 60),
    }
    fixed = ["--no-requeue", "--open-mode=append", "--nodes=1", "--ntasks=1", "--export=ALL"]
    fixed += ["--chdir=/", "--output=/dev/null", "--error=/dev/null"]
    return fixed + [f"--{key}={value}" for key, value in wishes.items() if value is not None]


def _call(
    words: Sequence[str],
    patience: float = PATIENCE,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run a command; return what it printed.

    Raises:
        SlurmError: it failed, did not end in time, or is not there.
    """
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**_environment(os.environ), **variables},
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{words[0]} has not answered for {format_duration(patience)}") from None
    except OSError as error:
        raise SlurmError(f"{words[0]} cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        raise SlurmError(_reason(words[0], done.stderr, done.returncode))
    return done.stdout


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    passed = {name: ours[name] for name in _PASSED if name in ours}
    return passed | {name: v for name, v in ours.items() if name.startswith("SBATCH_")}


def _reason(program: str, said: str, code: int) -> str:
    """Return the last thing that a command said of its failure, less whose words they are."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return f"{program} ended with {code}"
    line = re.sub(rf"^{program}: (error: |fatal: )?", "", lines[-1])
    line = re.sub(r"^(allocation failure|Batch job submission failed): ", "", line)
    return printable(line)
