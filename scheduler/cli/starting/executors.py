"""Where a sweep's attempts run: on this machine, or on the cluster that the sweep file names."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from scheduler.cli.common import UserError
from scheduler.cli.devices import open_devices
from scheduler.config.sweep import SlurmSettings, Sweep
from scheduler.devices.finding import FoundDevices
from scheduler.dispatch.recovery import Recovered
from scheduler.executors.base import Executor
from scheduler.executors.code_copy import CodeCopy
from scheduler.executors.local.executor import LocalExecutor
from scheduler.executors.slurm.check import SlurmUnusable, find_slots, parse_gres
from scheduler.executors.slurm.executor import SlurmExecutor
from scheduler.storage.paths import SweepPaths

# Keys of `devices` that a cluster's own scheduler answers for.
_NOT_ON_A_CLUSTER = ("only", "exclude", "share")


def open_executor(
    sweep: Sweep, wish: str | None, file: Path
) -> tuple[Sweep, SlurmSettings | None, FoundDevices]:
    """Find what a sweep runs on.

    Args:
        sweep: the sweep.
        wish: ``local`` or ``slurm``, if the command line says.
        file: the sweep's.

    Returns:
        the sweep, with what is known of it now; what its jobs ask Slurm for (None: it runs here); and the
        devices, or slots for jobs.

    Raises:
        UserError: there is nothing to run it on, or Slurm would not take its jobs.
    """
    if wish == "slurm" and sweep.executor is None:
        raise UserError(
            f"{file}: executor: is missing; for --executor slurm it says at least how long one attempt may "
            "take, as in {kind: slurm, time: 4h}"
        )
    settings = None if wish == "local" else sweep.executor
    if settings is None:
        found = open_devices(sweep.devices)
        # What was timed on one model of GPU is not continued on another.
        staged = sweep.staged if len({device.name for device in found.all}) == 1 else frozenset()
        sweep = replace(sweep, runs_on="GPU" if found.on_gpus else "CPU", staged=staged)
        return sweep, None, found
    try:
        found_slots = find_slots(settings)
    except SlurmUnusable as error:
        raise UserError(f"{file}: {error}") from None
    _check_gpus(sweep, settings, file)
    unused = [f"devices.{key}" for key in _NOT_ON_A_CLUSTER if getattr(sweep.devices, key)]
    if found_slots.remark is not None:
        print(f"{file}: {found_slots.remark}", file=sys.stderr)
    if unused:
        print(f"{file}: {', '.join(unused)}: not used on a cluster", file=sys.stderr)
    sweep = replace(sweep, runs_on="GPU" if settings.on_gpus else "CPU", on_cluster=True)
    return sweep, settings, FoundDevices(found_slots.slots, found_slots.where, None)


def _check_gpus(sweep: Sweep, settings: SlurmSettings, file: Path) -> None:
    """Make sure that each job has as many GPUs as its task is to have, if the sweep says that of tasks.

    Raises:
        UserError: it has not.
    """
    each = parse_gres(settings.gres)[2] if settings.on_gpus else 1
    for task in sweep.tasks if sweep.devices.per_task != 1 else ():
        if (devices := sweep.devices_of(task.id)) != each:
            raise UserError(
                f"{file}: devices.per_task: {task.id} has {devices} device(s), and each job {each} "
                "(executor.gres); on a cluster all tasks of a sweep have equally many"
            )


def make_executor(
    sweep: Sweep,
    paths: SweepPaths,
    settings: SlurmSettings | None,
    found: FoundDevices,
    copy: CodeCopy | None,
) -> Executor:
    """Return the executor of what was found.

    Raises:
        LeaseFolderError: GPUs of this machine cannot be leased.
    """
    if settings is None:
        return LocalExecutor(sweep, paths, found, os.environ, copy)
    return SlurmExecutor(sweep, paths, settings, (found.all, found.where), os.environ, copy)


def refuse_other_executor(recovered: Recovered, settings: SlurmSettings | None) -> None:
    """Make sure that what still runs was begun by the executor that is to look after it.

    Raises:
        UserError: it was not.
    """
    for task, record in recovered.open_attempts.items():
        place = record.started.place
        if record.ended is not None or (place is None) == (settings is None):
            continue
        if settings is None:
            assert place is not None
            raise UserError(
                f"{task}: its attempt is Slurm's job {place.get('job')}; run the sweep with "
                "--executor slurm, which sees to its end"
            )
        raise UserError(
            f"{task}: its attempt was begun without Slurm; run the sweep with --executor local until "
            "that has ended (Ctrl-C once starts nothing else)"
        )
