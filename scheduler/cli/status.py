"""``python -m scheduler status``: what is done, runs, waits, failed, and why; dispatcher or none."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from scheduler.cli.locate import load, shown
from scheduler.config.units import format_duration
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, WAITING
from scheduler.storage.paths import SweepPaths
from scheduler.views.console import WideConsole
from scheduler.views.display import device_table, progress_rows
from scheduler.views.from_files import progress_from_files
from scheduler.views.messages import conclusion_of, why_waits
from scheduler.views.tables import closing, fill_from_checkpoints


def run(arguments: argparse.Namespace) -> int:
    """Print the state of the sweep's files."""
    sweep, paths = load(arguments)
    progress = progress_from_files(sweep, paths)
    now = time.time()
    if arguments.json:
        fill_from_checkpoints(progress, paths, progress.tasks)
        content = as_json(sweep.name, paths, progress, now)
        print(json.dumps(content, indent=1, allow_nan=False))
        return 0
    console = WideConsole()
    root = shown(paths.root)
    holder = progress.holder
    if holder is None:
        console.print(f"{sweep.name}: no dispatcher runs; root {root}", soft_wrap=True)
    else:
        age = format_duration(now - holder.at)
        console.print(
            f"{sweep.name}: a dispatcher runs (pid {holder.pid}, for {age}); root {root}",
            soft_wrap=True,
        )
    if progress.unread_lines:
        console.print(f"journal: {progress.unread_lines} line(s) could not be read")
    for row in progress_rows(progress, now, console.width):
        console.print(row)
    if progress.devices and holder is not None:
        console.print(device_table(progress, paths, now))
    for part in closing(progress, paths, now):
        console.print(part)
    return 0


def as_json(name: str, paths: SweepPaths, progress: SweepProgress, now: float) -> dict[str, Any]:
    """Return the progress as JSON; times are seconds, times of day seconds since 1970."""
    tasks = []
    for task, view in progress.tasks.items():
        summary = view.summary or {}
        tasks.append(
            {
                "task": task,
                "state": view.state,
                "attempts": view.attempts,
                "device": view.device,
                "started": view.started,
                "seconds": view.seconds,
                "cause": view.cause if view.state != DONE else None,
                "waits": why_waits(task, progress, now) if view.state == WAITING else None,
                "speedup": summary.get("speedup"),
                "loss": summary.get("loss"),
                "conclusion": conclusion_of(summary) or None,
            }
        )
    holder = progress.holder
    return {
        "sweep": name,
        "root": str(paths.root),
        "dispatcher": {"pid": holder.pid, "since": holder.at} if holder else None,
        "paused": progress.trouble,
        "draining": progress.draining and holder is not None,
        "counts": progress.counts,
        "journal_lines_unread": progress.unread_lines,
        "seconds_left": progress.seconds_left(now),
        "idle_device_seconds": progress.idle_seconds,
        "lost_device_seconds": progress.lost_seconds,
        "median_gap_seconds": progress.median_gap(),
        "devices": [
            {
                "device": device,
                "index": view.index,
                "name": view.name,
                "task": view.task,
                "idle": view.idle and view.task is None,
                "reason": f"runs {view.task}" if view.task else view.reason,
                "aside_until": view.aside_until if view.aside_until > now else None,
                "aside_why": view.aside_why if view.aside_until > now else None,
            }
            for device, view in progress.devices.items()
        ],
        "tasks": tasks,
    }
