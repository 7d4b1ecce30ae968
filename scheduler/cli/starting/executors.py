"""Where a sweep's attempts run: on this machine, or on the cluster that the sweep file names."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

from scheduler.cli.common import UserError
from scheduler.cli.devices import open_devices
from scheduler.config.cluster.settings import ClusterSettings, RaySettings, SlurmSettings
from scheduler.config.sweep import Sweep
from scheduler.devices.finding import FoundDevices
from scheduler.dispatch.standings import Recovered
from scheduler.executors.base import Executor
from scheduler.executors.cluster.found import ClusterUnusable, Found, why_not_on_parts
from scheduler.executors.code_copy import CodeCopy
from scheduler.executors.local.executor import LocalExecutor
from scheduler.executors.ray.executor import RayExecutor
from scheduler.executors.slurm.check import find_slots, parse_gres
from scheduler.executors.slurm.commands import Submitter
from scheduler.executors.slurm.executor import SlurmExecutor
from scheduler.storage.paths import SweepPaths

# By their names: what a cluster's section becomes, and the least that it must say.
_KINDS: dict[str, tuple[type[ClusterSettings], str]] = {
    "slurm": (
        SlurmSettings,
        "it says at least how long one attempt may take, as in {kind: slurm, time: 4h}",
    ),
    "ray": (RaySettings, "it says at least where its head is: {kind: ray, address: 10.0.0.1:6379}"),
}
# Keys of `devices` that a cluster's own scheduler answers for.
_NOT_ON_A_CLUSTER = ("only", "exclude", "share")


def open_executor(
    sweep: Sweep, wish: str | None, file: Path
) -> tuple[Sweep, ClusterSettings | None, FoundDevices]:
    """Find what a sweep runs on.

    Args:
        sweep: the sweep.
        wish: ``local``, ``slurm`` or ``ray``, if the command line says.
        file: the sweep's.

    Returns:
        the sweep, with what is known of it now; what its jobs ask a cluster for (None: it runs here); and the
        devices, or slots for jobs.

    Raises:
        UserError: there is nothing to run it on, or the cluster would not take its jobs.
    """
    settings = None if wish == "local" else sweep.executor
    if wish in _KINDS and not isinstance(settings, _KINDS[wish][0]):
        is_there = "is missing" if settings is None else "is for another cluster"
        raise UserError(f"{file}: executor: {is_there}; for --executor {wish} {_KINDS[wish][1]}")
    if settings is None:
        found = open_devices(sweep.devices)
        # What was timed on one model of GPU is not continued on another.
        staged = sweep.staged if len({device.name for device in found.all}) == 1 else frozenset()
        sweep = replace(sweep, runs_on="GPU" if found.on_gpus else "CPU", staged=staged)
        return sweep, None, found
    _check_parts(sweep, settings, file)
    try:
        found_slots = _find_slots(settings)
    except ClusterUnusable as error:
        raise UserError(f"{file}: {error}") from None
    _check_gpus(sweep, settings, file)
    unused = [f"devices.{key}" for key in _NOT_ON_A_CLUSTER if getattr(sweep.devices, key)]
    if found_slots.remark is not None:
        print(f"{file}: {found_slots.remark}", file=sys.stderr)
    if unused:
        print(f"{file}: {', '.join(unused)}: not used on a cluster", file=sys.stderr)
    kind: Literal["GPU", "CPU"] = "GPU" if settings.on_gpus else "CPU"
    sweep = replace(sweep, runs_on=kind, on_cluster=True, on_parts=settings.on_parts)
    return sweep, settings, FoundDevices(found_slots.slots, found_slots.where, None)


def _find_slots(settings: ClusterSettings) -> Found:
    """Return room for a sweep's attempts on its cluster.

    Raises:
        ClusterUnusable: it has none, or is not there.
    """
    if isinstance(settings, SlurmSettings):
        return find_slots(settings)
    from scheduler.executors.ray.check import find_slots as find_slots_of_ray

    return find_slots_of_ray(settings)


def _check_parts(sweep: Sweep, settings: ClusterSettings, file: Path) -> None:
    """Make sure that a part of a GPU is enough for each task, where each has one.

    Raises:
        UserError: it is not.
    """
    if not settings.on_parts:
        return
    asked = (
        f"gres: {settings.gres}"
        if isinstance(settings, SlurmSettings)
        else f"gpus: {settings.gpus:g}"
    )
    what = f"{file}: executor.{asked} is a part of a GPU"
    for task in sweep.tasks:
        if (devices := sweep.devices_of(task.id)) != 1:
            raise UserError(
                f"{what}, and {task.id} has {devices} whole devices (devices.per_task); remove one of the two"
            )
    if (why := why_not_on_parts(sweep)) is not None:
        raise UserError(f"{what}, and {why}")


def _check_gpus(sweep: Sweep, settings: ClusterSettings, file: Path) -> None:
    """Make sure that each job has as many GPUs as its task is to have, if the sweep says that of tasks.

    Raises:
        UserError: it has not.
    """
    if settings.on_parts:
        return
    if isinstance(settings, SlurmSettings):
        key, each = "gres", float(parse_gres(settings.gres)[2] if settings.on_gpus else 1)
    else:
        key, each = "gpus", settings.gpus or 1.0
    for task in sweep.tasks if sweep.devices.per_task != 1 else ():
        if (devices := sweep.devices_of(task.id)) != each:
            raise UserError(
                f"{file}: devices.per_task: {task.id} has {devices} device(s), and each job {each:g} "
                f"(executor.{key}); on a cluster all tasks of a sweep have equally many"
            )


def make_executor(
    sweep: Sweep,
    paths: SweepPaths,
    settings: ClusterSettings | None,
    found: FoundDevices,
    copy: CodeCopy | None,
    slurm: Submitter,
) -> Executor:
    """Return the executor of what was found; ``slurm`` takes its jobs, should they be Slurm's.

    Raises:
        LeaseFolderError: GPUs of this machine cannot be leased.
    """
    if settings is None:
        return LocalExecutor(sweep, paths, found, os.environ, copy)
    if isinstance(settings, RaySettings):
        return RayExecutor(sweep, paths, settings, (found.all, found.where), os.environ, copy)
    return SlurmExecutor(sweep, paths, settings, (found.all, found.where), os.environ, copy, slurm)


def refuse_other_executor(recovered: Recovered, settings: ClusterSettings | None) -> None:
    """Make sure that what still runs was begun by the executor that is to look after it.

    Raises:
        UserError: it was not.
    """
    for task, record in recovered.open_attempts.items():
        if record.ended is not None:
            continue
        place = record.started.place
        begun = "local" if place is None else "ray" if "actor" in place else "slurm"
        if begun == _name_of(settings):
            continue
        if place is not None:
            what = f"Slurm's job {place.get('job')}" if begun == "slurm" else "an actor of Ray's"
            raise UserError(
                f"{task}: its attempt is {what}; run the sweep with --executor {begun}, which sees to its end"
            )
        raise UserError(
            f"{task}: its attempt was begun on this machine; run the sweep with --executor local until "
            "that has ended (Ctrl-C once starts nothing else)"
        )


def _name_of(settings: ClusterSettings | None) -> str:
    return next((name for name, (kind, _) in _KINDS.items() if isinstance(settings, kind)), "local")
