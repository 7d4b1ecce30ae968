"""Sweeps of one name, of several machines or folders: called by what tells them apart."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scheduler.config.sweep import Sweep, Task
from scheduler.storage.json_files import read_results
from scheduler.storage.paths import SweepPaths

Asked = tuple[Sweep, SweepPaths, Sequence[Task]]


def told_apart(asked: Sequence[Asked]) -> list[Asked]:
    """Return sweeps so that no two have one name: those that do are called by root and device.

    Their files are where they were, since paths are made before.
    """
    roots = [Path(os.path.realpath(paths.root)) for _, paths, _ in asked]
    common = os.path.commonpath(roots) if roots else ""
    counts = Counter(sweep.name for sweep, _, _ in asked)
    found: list[Asked] = []
    for (sweep, paths, tasks), root in zip(asked, roots, strict=True):
        if counts[sweep.name] == 1:
            found.append((sweep, paths, tasks))
            continue
        folder = os.path.relpath(root, common)
        told = [root.name if folder == "." else folder, device_of(paths, tasks)]
        name = f"{sweep.name} ({', '.join(filter(None, told))})"
        found.append((replace(sweep, name=name), paths, tasks))
    return found


def device_of(paths: SweepPaths, tasks: Sequence[Task]) -> str:
    """Return the model of the device that a sweep was measured on, by its first row that tells it."""
    for task in tasks:
        for row in read_results(paths.results(task.id)):
            if name := device_in(row):
                return name
    return ""


def device_in(row: object) -> str:
    """Return the model of the device that a row was measured on, or an empty text."""
    environment = row.get("environment") if isinstance(row, dict) else None
    device = environment.get("device") if isinstance(environment, dict) else None
    return device if isinstance(device, str) else ""
