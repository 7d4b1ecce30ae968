"""Slurm's own commands: what they are asked, and what is made of their answers.

Nothing here passes through a shell. What squeue says is told apart by tabs, which no name of a sweep and none
of Slurm's words holds. An array is known by the comment that it was submitted with, never by its number:
after a controller's crash, numbers come round again.
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
from typing import TYPE_CHECKING, Protocol

from scheduler.config.printable import printable
from scheduler.config.units import format_duration

if TYPE_CHECKING:  # a job, which starts often, does without what reads sweep files
    from scheduler.config.cluster.settings import SlurmSettings

PATIENCE = 30.0  # seconds for one command; with its controller down, each takes about 10
_TO_SUBMIT = (
    12.0  # of a full controller sbatch asks for minutes, and we look after attempts meanwhile
)
_SCRIPT = Path(__file__).with_name("job.sh")
# Of our environment, what the commands go by: a job of ours gets the rest by its order. The variables of
# an allocation that this process may run in are none of a new job's.
_PASSED = ("PATH", "HOME", "USER", "LOGNAME", "SLURM_CONF", "LD_LIBRARY_PATH")
# Else squeue ends a long list of an array's elements by dots.
_WHOLE_LISTS = {"SLURM_BITSTR_LEN": "0"}
_MARK = "sweep-attempts"
# States of nodes that answer and take jobs; a mark behind one (``idle*``) says that they do not.
_UP = frozenset({"idle", "mixed", "allocated", "completing"})
# Slurm's word for why a job is ended whose time is over: from the moment on at which it is told to end.
TIME_LIMIT = "TimeLimit"
_FORMAT = "%F\t%K\t%A\t%T\t%r\t%k"
_DEFAULT_LIMITS = (1001, 10_000)  # Slurm's own, of an array and of all jobs


class SlurmError(Exception):
    """A command of Slurm's has failed; the message is what it said, as a phrase."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What an array's comment says: whose attempts its elements take."""

    # Of the array: no other one ever had it.
    array: str
    # Of the folder that the attempts' orders are in.
    folder: str
    sweep: str

    def __str__(self) -> str:
        return f"{_MARK} {self.array} {self.folder} {self.sweep}"


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of squeue's: an element of an array, or all those of one that have not begun."""

    # Of the array's mark.
    array: str
    # The array's number, and that of the job.
    base: int
    number: int
    # None: those of the array that have no line of their own.
    indices: Sequence[int] | None
    # How many elements of the array may run at once, where the line says so.
    throttle: int | None
    # In Slurm's words: PENDING, RUNNING, NODE_FAIL, …
    state: str
    # Why it is in that state, as one word or a few.
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How much Slurm takes."""

    # Elements of one array; 0: it has no arrays.
    array_size: int
    # Jobs of all users, each element of an array counted.
    jobs: int


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


@dataclass(frozen=True, slots=True)
class Submission:
    """Words that are to run as often as an array has elements."""

    # What each element asks for.
    settings: SlurmSettings
    # The array's.
    mark: Mark
    # The command line.
    words: Sequence[str]
    elements: int
    # How many of them may run at a time; None: it is one job, and no array.
    at_once: int | None
    # Nodes on which none may run.
    exclude: Sequence[str] = ()


class Submitter(Protocol):
    """What takes jobs: the functions of this module, or what stands for them."""

    def submit(self, asked: Submission) -> int: ...

    def exclude(self, number: int, nodes: Sequence[str]) -> None: ...

    def cancel(self, names: Sequence[str], *, waiting: bool = False) -> None: ...

    def jobs(self, folder: str) -> list[Listed]: ...

    def limits(self) -> Limits: ...

    def allow(self, number: int, at_once: int) -> None: ...


def submit(asked: Submission) -> int:
    """Have Slurm queue an array; return its number.

    Raises:
        SlurmError: Slurm does not take it now. In rare cases it is in the queue all the same.
    """
    mark = asked.mark
    options = [f"--comment={mark}", f"--job-name={mark.sweep}", *_options(asked.settings)]
    if asked.at_once is not None:
        options.append(f"--array=0-{asked.elements - 1}%{asked.at_once}")
    if asked.exclude:
        options.append(f"--exclude={','.join(asked.exclude)}")
    said = _call(["sbatch", "--parsable", *options, str(_SCRIPT), *asked.words], _TO_SUBMIT)
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


def cancel(names: Sequence[str], *, waiting: bool = False) -> None:
    """Have Slurm end jobs: TERM to all their processes, KILL after Slurm's KillWait.

    Args:
        names: numbers of jobs, or elements of arrays as in ``17_3`` and ``17_[5-9]``.
        waiting: only those that have not begun.

    Raises:
        SlurmError: it was not reached.
    """
    _call(["scancel", *(["--state=PENDING"] if waiting else []), *names])


def allow(number: int, at_once: int) -> None:
    """Let so many elements of an array run at once.

    Raises:
        SlurmError: it could not be changed.
    """
    _call(["scontrol", "update", f"JobId={number}", f"ArrayTaskThrottle={at_once}"])


def exclude(number: int, nodes: Sequence[str]) -> None:
    """Have none of an array that waits run on these nodes.

    Raises:
        SlurmError: it could not be changed.
    """
    _call(["scontrol", "update", f"JobId={number}", f"ExcNodeList={','.join(nodes)}"])


def limits() -> Limits:
    """Return how much Slurm takes at all; how much it takes of this user shows when it refuses more.

    Raises:
        SlurmError: Slurm does not answer.
    """
    return parse_limits(_call(["scontrol", "show", "config"]))


def parse_limits(said: str) -> Limits:
    """Return the limits in what ``scontrol show config`` says."""
    number = {name: int(n) for name, n in re.findall(r"^(\w+)\s*= (\d+)$", said, re.MULTILINE)}
    size = number.get("MaxArraySize", _DEFAULT_LIMITS[0])
    if (most := re.search(r"\bmax_array_tasks=(\d+)", said)) is not None:
        size = min(size, int(most[1]))
    return Limits(size, number.get("MaxJobCount", _DEFAULT_LIMITS[1]))


def reason_of(name: str, patience: float) -> str:
    """Return in one of Slurm's words why a job is in the state that it is in.

    Args:
        name: the job's number, or the element of an array as in ``17_3``.
        patience: seconds in which Slurm must answer.

    Raises:
        SlurmError: it does not, or knows no such job.
    """
    words = ["squeue", "--noheader", "--states=all", f"--jobs={name}", "-o", "%r"]
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


def jobs(folder: str) -> list[Listed]:
    """Return this user's jobs for a folder's orders; ended ones for as long as Slurm keeps them.

    Args:
        folder: of their marks.

    Raises:
        SlurmError: Slurm does not answer.
    """
    words = ["squeue", "--noheader", "--me", "--states=all", "-o", _FORMAT]
    said = _call(words, variables=_WHOLE_LISTS)
    return list(parse_jobs(said, folder))


def parse_jobs(said: str, folder: str) -> Iterator[Listed]:
    """Yield what each line of squeue's says that is about a folder's orders."""
    for line in said.split("\n"):
        base, *fields = line.split("\t", 5)
        if len(fields) < 5 or not base.isdecimal() or not fields[1].isdecimal():
            continue
        elements, number, state, reason, comment = fields
        mark = comment.split(" ", 3)
        if mark[0] == _MARK and len(mark) == 4 and mark[2] == folder:
            which, _, throttle = elements.partition("%")
            at_once = int(throttle) if throttle.isdecimal() else None
            yield Listed(mark[1], int(base), int(number), _indices(which), at_once, state, reason)


def _indices(said: str) -> list[int] | None:
    """Return the numbers in ``3,5-9,20-30:5``; None where Slurm names none."""
    found: list[int] = []
    for part in said.split(","):
        span = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if span is None:
            return None
        first, last, step = span.groups()
        found += range(int(first), int(last or first) + 1, int(step or 1))
    return found


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
    except subprocess.TimeoutExpired as error:
        if isinstance(error.stderr, bytes) and error.stderr:  # why sbatch tries again and again
            raise SlurmError(phrase(words[0], error.stderr.decode(errors="replace"), 0)) from None
        raise SlurmError(f"{words[0]} has not answered for {format_duration(patience)}") from None
    except OSError as error:
        raise SlurmError(f"{words[0]} cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        raise SlurmError(phrase(words[0], done.stderr, done.returncode))
    return done.stdout


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    passed = {name: ours[name] for name in _PASSED if name in ours}
    return passed | {name: v for name, v in ours.items() if name.startswith("SBATCH_")}


def phrase(program: str, said: str, code: int) -> str:
    """Return the last thing that a command said of its failure, less whose words they are."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return f"{program} ended with {code}"
    line = re.sub(rf"^{program}: (error: |fatal: )?", "", lines[-1])
    line = re.sub(r"^(allocation failure|Batch job submission failed): ", "", line)
    return printable(line)
