"""What is asked of an executor to start an attempt: the worker's command line, environment and files."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from scheduler.config.sweep import Sweep, Task
from scheduler.config.units import format_cpus
from scheduler.core.events import Start
from scheduler.devices.model import Device, joined_cpus
from scheduler.executors.base import StartRequest
from scheduler.executors.source_version import SourceReader
from scheduler.executors.worker_process import TOKEN
from scheduler.storage.attempts_file import StartLine
from scheduler.storage.paths import SweepPaths, size_of


def build_request(
    sweep: Sweep,
    task: Task,
    start: Start,
    devices: Sequence[Device],
    paths: SweepPaths,
    *,
    free_memory: Mapping[str, int | None],
    source: SourceReader,
    scratch: Path | None = None,
) -> StartRequest:
    """Return the request for what the core has decided.

    Args:
        free_memory: by device as it was last offered, bytes; None: not known.
        source: tells what code the attempt will run.
        scratch: where it runs, a folder for folders of attempts; None: its files are this machine's.
    """
    overrides = {name: max(1, sweep.args[name] >> start.halvings) for name in sweep.retries.on_oom}
    free = [free_memory.get(device.id) for device in devices]
    # Attempts that share a device, or that jobs in a queue are for, would write over each other's.
    own = start.share is not None or devices[0].kind == "slot"
    spec, results_file = paths.spec(task.id if own else devices[0].id), paths.results(task.id)
    token = uuid.uuid4().hex
    if scratch is not None:
        folder = scratch / f"diffusion-sweeps-{token}"
        spec, results_file = folder / ".spec.json", folder / results_file.name
    results = str(results_file)
    command = source.placed(sweep.argv(task, overrides, results, str(spec)))
    return StartRequest(
        StartLine(
            attempt=start.number,
            devices=tuple(device.id for device in devices),
            task=task.id,
            device_name=", ".join(dict.fromkeys(device.name for device in devices)),
            digest=sweep.digest(task),
            token=token,
            halvings=start.halvings,
            overrides=overrides if start.halvings else {},
            free_memory=min((f for f in free if f is not None), default=None),
            settings=sweep.settings_digest,
            source=source.read(command),
            cores=format_cpus(joined_cpus([device.cpus for device in devices])) or None,
            share=start.share,
        ),
        task=task.id,
        devices=tuple(device.id for device in devices),
        command=command,
        environment={
            "SWEEP_TASK": task.id,
            "SWEEP_SPEC": str(spec),
            "SWEEP_RESULTS": results,
            TOKEN: token,
        },
        spec=sweep.spec(task, overrides, results, str(spec))
        | {"digest": sweep.digest(task), "attempt": start.number}
        | ({} if start.stage is None else {"stage": start.stage}),
        spec_file=spec,
        attempts_file=paths.attempts(task.id),
        attempts_size=size_of(paths.attempts(task.id)),
        done_file=paths.done(task.id),
        log_file=paths.log(task.id),
    )
