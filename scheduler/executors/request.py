"""What a supervisor is told to start an attempt: the worker's command line, environment and files."""

from __future__ import annotations

import errno
import json
import os
import uuid
from pathlib import Path
from typing import Any

from scheduler.config.sweep import Sweep, Task
from scheduler.core.events import Start
from scheduler.devices.model import Device
from scheduler.executors.worker_process import TOKEN, find_program
from scheduler.storage.paths import SweepPaths

GRACE = 10.0  # seconds between TERM and KILL when an attempt is stopped


def build_order(
    sweep: Sweep,
    task: Task,
    start: Start,
    device: Device,
    paths: SweepPaths,
    *,
    path: str | None,
    free_memory: int | None,
) -> dict[str, Any]:
    """Write the task's spec file and return the order for its supervisor.

    Args:
        path: the PATH on which the worker's program is looked for.
        free_memory: of the device, bytes; None: not known.

    Raises:
        OSError: the spec file could not be written.
    """
    overrides = {name: max(1, sweep.args[name] >> start.halvings) for name in sweep.retries.on_oom}
    results, spec = str(paths.results(task.id)), paths.spec(device.id)
    _overwrite(spec, json.dumps(sweep.spec(task, overrides)).encode())
    token = uuid.uuid4().hex
    command = sweep.argv(task, overrides, results, str(spec))
    command[0] = find_program(command[0], path) or command[0]
    return {
        "record": str(paths.attempts(task.id)),
        "done": str(paths.done(task.id)),
        "record_size": _size(paths.attempts(task.id)),
        "log": str(paths.log(task.id)),
        "command": command,
        "environment": {
            "SWEEP_TASK": task.id,
            "SWEEP_SPEC": str(spec),
            "SWEEP_RESULTS": results,
            TOKEN: token,
        },
        "grace": GRACE,
        "attempt": {
            "attempt": start.number,
            "task": task.id,
            "device": device.id,
            "device_name": device.name,
            "digest": sweep.digest(task),
            "token": token,
            "halvings": start.halvings,
            "overrides": overrides if start.halvings else {},
            "free_memory": free_memory,
        },
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _overwrite(path: Path, data: bytes) -> None:
    """Write a file over, without truncating it first: ext4 syncs a file that was emptied and written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        written = os.write(descriptor, data)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.ftruncate(descriptor, written)
    finally:
        os.close(descriptor)
