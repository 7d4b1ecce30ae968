"""Attempts that still run though their files are gone: whose folder was removed, moved or replaced.

The lock on an attempts file shows nothing once the file has lost its name. But the attempt's processes carry
the name of the results file in their environment, and they, or their supervisor, still hold the file itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from scheduler.devices.processes import read_stat
from scheduler.executors.worker_process import TOKEN
from scheduler.storage.attempts_file import AttemptRecord, StartLine, is_locked
from scheduler.storage.json_files import parse_object
from scheduler.storage.paths import SweepPaths

_MOST_STEPS = 16  # up from a process to its supervisor
_MOST_BYTES = 1 << 20  # of an attempts file


def find_survivors(paths: SweepPaths, tasks: Collection[str]) -> dict[str, AttemptRecord]:
    """Return the attempts of tasks that still run without their files, by task.

    What cannot be seen (another user's processes, those of another container) is not found.
    """
    folder, own = os.path.realpath(paths.checkpoints), set(_ancestors(os.getpid()))
    found: dict[str, AttemptRecord] = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        environment = {} if pid in own else _environment(pid)
        task, results = environment.get("SWEEP_TASK"), environment.get("SWEEP_RESULTS")
        if task is None or results is None or task not in tasks:
            continue
        if os.path.realpath(os.path.dirname(results)) != folder or is_locked(paths.attempts(task)):
            continue
        record = _record(pid, task, environment.get(TOKEN)) or _unknown(task, environment)
        if task not in found or found[task].started.supervisor is None:
            found[task] = record
    return found


def _environment(pid: int) -> dict[str, str]:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in entries)
    return {name: value for name, _, value in pairs}


def _ancestors(pid: int) -> Iterator[int]:
    """Yield a process, its parent, and so on."""
    for _ in range(_MOST_STEPS):
        yield pid
        try:
            pid = read_stat(pid).parent
        except OSError:
            return
        if pid <= 1:
            return


def _record(pid: int, task: str, token: str | None) -> AttemptRecord | None:
    """Return how the attempt began, by the file that a process or its supervisor holds; None: not found."""
    for holder in _ancestors(pid):
        try:
            names = [entry.path for entry in os.scandir(f"/proc/{holder}/fd")]
        except OSError:
            continue
        for name in names:
            start = _start(name, task)
            if start is not None and start.token == token:
                return AttemptRecord(start)
    return None


def _start(descriptor: str, task: str) -> StartLine | None:
    """Return the last start in the file behind a descriptor, if that is the task's attempts file."""
    try:
        if not os.path.basename(os.readlink(descriptor)).startswith(f"{task}.attempts"):
            return None
        with open(descriptor, "rb") as file:
            lines = file.read(_MOST_BYTES).splitlines()
    except OSError:
        return None
    starts = (StartLine.parse(parse_object(line) or {}) for line in lines)
    return next((start for start in reversed(list(starts)) if start is not None), None)


def _unknown(task: str, environment: dict[str, str]) -> AttemptRecord:
    """Return an attempt of which no file tells: it is ended as one whose supervisor was killed."""
    visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    spec = Path(environment.get("SWEEP_SPEC", "")).stem  # of a CPU slot
    devices = tuple(filter(None, visible)) or (spec,)
    return AttemptRecord(StartLine(1, devices, task, token=environment.get(TOKEN)))
