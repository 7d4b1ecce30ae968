"""``--inside-slurm``: a run as one large job of Slurm's, which ends at a certain time."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from scheduler.cli.common import UserError
from scheduler.cli.starting.executors import open_executor, refuse_other_executor
from scheduler.config.cluster.settings import ClusterSettings, SlurmSettings
from scheduler.config.sweep import Sweep
from scheduler.config.units import format_duration
from scheduler.core.core import OUT_OF_TIME
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE
from scheduler.devices.finding import FoundDevices
from scheduler.dispatch.standings import Recovered
from scheduler.executors.allocation.lent import LEAST, MARGIN, LentExecutor, time_to_start
from scheduler.executors.allocation.steps import Steps, look_at_nodes, room_for_steps
from scheduler.executors.base import Executor
from scheduler.executors.cluster.found import why_not_on_parts
from scheduler.executors.slurm import commands
from scheduler.executors.slurm.check import slots
from scheduler.executors.slurm.commands import SlurmError, Submitter
from scheduler.executors.slurm.fate import JobState, understood
from scheduler.storage.paths import SweepPaths, size_of

FLAG = "--inside-slurm"
# What Slurm sets for a job that has a part of a GPU.
_OF_PARTS = ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "SLURM_SHARDS_ON_NODE")


@dataclass(frozen=True, slots=True)
class Yield:
    """What a sweep has at a moment, to tell whether a job got any further."""

    completed: int
    # Bytes of rows that the next attempts go on from.
    rows: int

    @classmethod
    def of(cls, sweep: Sweep, paths: SweepPaths, progress: SweepProgress) -> Yield:
        """Return what it has now."""
        kept = sweep.tasks if sweep.reuses_results else ()
        return cls(progress.counts[DONE], sum(size_of(paths.results(task.id)) for task in kept))


@dataclass(frozen=True, slots=True)
class Inside:
    """The job that this process is in."""

    # Slurm's number of it.
    job: int
    # When it ends, and when that was asked (time of day, seconds); None: not known, or never.
    end: float | None
    asked: float
    # The node that this process is on, as Slurm calls it.
    node: str
    # How many GPUs the job has on it; None: Slurm does not say.
    gpus: int | None
    # On how many nodes it is.
    nodes: int

    @classmethod
    def here(cls, environment: Mapping[str, str], wish: str | None) -> Inside:
        """Return the job.

        Args:
            environment: of this process.
            wish: what --executor says.

        Raises:
            UserError: this process is in none, or the job is none for a sweep.
        """
        number, node = environment.get("SLURM_JOB_ID", ""), environment.get("SLURMD_NODENAME")
        if not number.isdecimal() or node is None:
            raise UserError(
                f"{FLAG}: this process is in no job of Slurm's (SLURM_JOB_ID and SLURMD_NODENAME are not "
                "both set); it goes into a job script: sbatch SCRIPT"
            )
        if wish == "slurm":
            raise UserError(f"{FLAG}: attempts run in this job, so --executor slurm cannot be, too")
        if environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
            raise UserError(
                f"{FLAG}: srun has started this several times; start it once, without srun"
            )
        gpus = environment.get("SLURM_GPUS_ON_NODE", "")
        asked = time.time()
        try:
            end = commands.end_of(int(number))
        except SlurmError as error:
            raise UserError(f"{FLAG}: when job {number} ends Slurm does not say: {error}") from None
        if end is not None and end - asked < MARGIN + LEAST:
            raise UserError(
                f"{FLAG}: job {number} ends in {format_duration(max(0.0, end - asked))}; what runs is "
                f"stopped {format_duration(MARGIN)} before that: give it more time (#SBATCH --time)"
            )
        nodes = int(environment.get("SLURM_JOB_NUM_NODES", "1"))
        return cls(int(number), end, asked, node, int(gpus) if gpus.isdecimal() else None, nodes)

    def has_none_of_the_gpus(self) -> bool:
        """Say whether Slurm has GPUs on this node, and has given the job none."""
        try:
            return not self.gpus and commands.gpus_of(self.node) > 0
        except SlurmError:
            return False

    def check_numbers(self, found: FoundDevices, environment: Mapping[str, str]) -> None:
        """Make sure that Slurm's numbers of GPUs, positions in its gres.conf, are the driver's.

        They are where the job can see its own GPUs alone, and where Slurm has all those of the node. A job
        script may name them by UUID instead.

        Raises:
            UserError: nobody can tell which GPUs are the job's.
        """
        named = "-" in environment.get("CUDA_VISIBLE_DEVICES", "")
        if found.nvml is None or named or self.gpus is None:
            return
        here = len({device.parent or device.id for device in found.nvml.devices()})
        try:
            if here <= self.gpus or (listed := commands.gpus_of(self.node)) in (0, here):
                return
        except SlurmError:
            return
        raise UserError(
            f"{FLAG}: which GPUs are job {self.job}'s cannot be told: Slurm numbers {listed} of this "
            f"node's {here}, and shows the job all of them; set CUDA_VISIBLE_DEVICES to the UUIDs of the "
            "job's in its script"
        )

    def find_room(
        self, sweep: Sweep, environment: Mapping[str, str]
    ) -> tuple[SlurmSettings, FoundDevices]:
        """Return what each attempt has of the job's several nodes, and room for so many of them.

        Raises:
            UserError: there is none.
        """
        counts = {sweep.devices_of(task.id) for task in sweep.tasks}
        if len(counts) > 1:
            raise UserError(
                f"{FLAG}: devices.per_task: on several nodes all tasks of a sweep have equally many devices"
            )
        try:
            shares = look_at_nodes(self.nodes, environment)
        except SlurmError as error:
            raise UserError(f"{FLAG}: the {self.nodes} nodes of job {self.job}: {error}") from None
        each = max(counts, default=1) if any(share.gpus for share in shares) else 0
        room, cores = room_for_steps(shares, each, sweep.devices.cpu_slots or 0)
        if not room:
            has = ", ".join(f"{share.node}: {share.gpus} GPU(s)" for share in shares)
            raise UserError(
                f"{FLAG}: job {self.job} has no room for an attempt ({has}); ask for GPUs "
                "(#SBATCH --gres=gpu:4), or say by devices.cpu_slots that the sweep goes without"
            )
        # How long an attempt may take is a matter of the job's time, not of the section's.
        asked = sweep.executor if isinstance(sweep.executor, SlurmSettings) else SlurmSettings(60.0)
        settings = replace(asked, gres=f"gpu:{each}" if each else "", cpus=cores, at_most=None)
        where = f"{room} attempt(s) at once on {self.nodes} nodes"
        return settings, FoundDevices(slots(room, settings), where, None)

    def refuse_living(self, recovered: Recovered) -> None:
        """Make sure that nothing that was begun as another job, or in one, still runs there.

        Raises:
            UserError: something may.
        """
        for task, record in recovered.open_attempts.items():
            place = record.started.place or {}
            number = place.get("job")
            if record.ended is not None:
                continue
            if "actor" in place:
                raise UserError(
                    f"{task}: its attempt is an actor of Ray's; --executor ray sees to its end"
                )
            if self.nodes > 1 or not isinstance(number, int):  # it has a lease, or is sought here
                continue
            try:
                state = commands.state_of(number)
            except SlurmError as error:
                raise UserError(f"{FLAG}: Slurm does not answer: {error}") from None
            if state is not None and understood(state) is JobState.LIVES:
                raise UserError(
                    f"{task}: its attempt runs in Slurm's job {number}; --executor slurm sees to its end, or "
                    f"scancel {number} brings it about"
                )

    def lend(self, executor: Executor, sweep: Sweep, progress: SweepProgress) -> LentExecutor:
        """Return the executor, with an eye on the time."""
        whole = float("inf") if self.end is None else self.end - self.asked

        def to_start() -> float:
            took = progress.durations
            return time_to_start(took, keeps_rows=sweep.reuses_results, whole=whole)

        return LentExecutor(executor, self.job, self.end, to_start)

    def left_with(self, code: int, before: Yield, now: Yield, file: Path) -> tuple[int, str]:
        """Return the exit code of a run that ended with ``code``, and its last line, empty if there is none.

        A job that submits its own successor must not do so for ever.

        Args:
            code: what the dispatcher ended with.
            before: what the sweep had when it began.
            now: what it has now.
            file: the sweep's.
        """
        if code != OUT_OF_TIME:
            return code, ""
        left = f"left for the time limit of Slurm's job {self.job}"
        if now == before:
            return 1, (
                f"{left}, in which no task was completed and no row kept: the next job would get no further; "
                "give jobs more time (#SBATCH --time)\n"
            )
        again = f"python -m scheduler {file} {FLAG}"
        return code, f"{left}; the next job goes on from here by the same command: {again}\n"


def open_place(
    sweep: Sweep, arguments: argparse.Namespace
) -> tuple[Inside | None, Sweep, ClusterSettings | None, FoundDevices]:
    """Find what a sweep runs on, by the command line.

    Returns:
        the job that all of it is to run in, if it is; and what `open_executor` returns.

    Raises:
        UserError: there is nothing to run it on, or this is no job for a sweep.
    """
    if not arguments.inside_slurm:
        return None, *open_executor(sweep, arguments.executor, arguments.sweep)
    inside = Inside.here(os.environ, arguments.executor)
    if inside.nodes > 1:
        several, found = inside.find_room(sweep, os.environ)
        sweep = replace(sweep, runs_on="GPU" if several.on_gpus else "CPU", on_cluster=True)
        return inside, sweep, several, found
    if inside.has_none_of_the_gpus():
        if sweep.devices.cpu_slots is None:
            raise UserError(
                f"{FLAG}: job {inside.job} has no GPU; ask for some (#SBATCH --gres=gpu:4), or say by "
                "devices.cpu_slots that the sweep goes without"
            )
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Slurm need not have said so
    sweep, settings, found = open_executor(sweep, "local", arguments.sweep)
    inside.check_numbers(found, os.environ)
    if found.on_gpus and not os.environ.keys().isdisjoint(_OF_PARTS):
        if (why := why_not_on_parts(sweep)) is not None:
            raise UserError(f"{FLAG}: job {inside.job} has a part of a GPU, and {why}")
        sweep = replace(sweep, on_parts=True)
    return inside, sweep, settings, found


def refuse_what_runs_elsewhere(
    inside: Inside | None, recovered: Recovered, settings: ClusterSettings | None
) -> None:
    """Make sure that what still runs was begun where it is looked after.

    Raises:
        UserError: it was not.
    """
    if inside is None:
        refuse_other_executor(recovered, settings)
    else:
        inside.refuse_living(recovered)


def submitter_of(inside: Inside | None) -> Submitter:
    """Return what takes jobs of Slurm's: Slurm itself or, inside a job, the job, as its steps."""
    return commands if inside is None else Steps(inside.job, os.environ)
