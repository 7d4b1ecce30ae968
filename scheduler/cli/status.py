"""``python -m scheduler status``: what is done, runs, waits, failed, and why; dispatcher or none."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Group
from rich.text import Text

from scheduler.cli.common import chosen
from scheduler.cli.locate import load, shown
from scheduler.cli.starting.kept import tell_progress
from scheduler.cli.watch import watch
from scheduler.config.printable import printable
from scheduler.config.sweep import Sweep, Task
from scheduler.config.units import format_duration
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, FAILED, WAITING, Holder, Limit, TaskView
from scheduler.storage.json_files import as_number
from scheduler.storage.paths import SweepPaths
from scheduler.views.answers import overrides_of
from scheduler.views.console import WideConsole
from scheduler.views.from_files import last_events, progress_from_files
from scheduler.views.logs.ends import line_that_shows
from scheduler.views.messages import best_of, conclusion_of, why_waits
from scheduler.views.running_sweep import CHANGED, NEW, REMOVED
from scheduler.views.screen.picture import Picture
from scheduler.views.source_mix import find_other_code, remarks_on_code
from scheduler.views.tables import MANY, closing, fill_from_checkpoints

VERSION = 1  # of the JSON form: docs/data/status.schema.json; another where a key goes or changes its meaning
_NUMBERS = ("speedup", "loss", "max_loss", "more_images")  # of the worker's summary
_MOST_NAMED = 10  # tasks in one line
_KINDS = {NEW: "new", CHANGED: "changed", REMOVED: "no longer in it"}


def run(arguments: argparse.Namespace) -> int:
    """Print the state of the sweep's files."""
    sweep, paths = load(arguments)
    tasks = chosen(sweep, arguments.only)
    picture = Picture(sweep, paths)
    if arguments.watch:
        return watch(partial(_draw, sweep, paths, tasks, picture))
    progress = _look(sweep, paths, tasks)
    tell_progress(progress, sweep, paths)
    now = time.time()
    fill_from_checkpoints(
        progress, paths, progress.tasks if arguments.json else _some_done(progress)
    )
    find_other_code(progress, paths)
    if arguments.json:
        content = as_json(sweep.name, paths, progress, now, picture)
        print(json.dumps(content, indent=1, allow_nan=False))
        return 0
    console = WideConsole()
    for line in _head(sweep, paths, progress, now):
        console.print(line, soft_wrap=True)
    console.print(picture.draw(progress, now, console.width))
    for part in closing(progress, paths, now):
        console.print(part)
    return 0


def _look(sweep: Sweep, paths: SweepPaths, tasks: Sequence[Task]) -> SweepProgress:
    """Return how the chosen tasks stand."""
    progress = progress_from_files(sweep, paths)
    if len(tasks) < len(sweep.tasks):
        progress.keep({task.id for task in tasks})
        progress.only, progress.left_out = (), len(sweep.tasks) - len(tasks)
    return progress


def _some_done(progress: SweepProgress) -> Sequence[str]:
    """Return completed tasks, of many some: the best of them is shown, and what they took tells of others."""
    done = [name for name, view in progress.tasks.items() if view.state == DONE]
    return done[:: 1 + len(done) // MANY]


def _draw(
    sweep: Sweep,
    paths: SweepPaths,
    tasks: Sequence[Task],
    picture: Picture,
    width: int,
    height: int,
) -> Group:
    """Return what a terminal shows of the sweep now."""
    progress, now = _look(sweep, paths, tasks), time.time()
    failed = [name for name, view in progress.tasks.items() if view.state == FAILED]
    fill_from_checkpoints(progress, paths, (*_some_done(progress), *failed[-MANY:]))
    head = [
        Text(line, no_wrap=True, overflow="ellipsis") for line in _head(sweep, paths, progress, now)
    ]
    events = last_events(paths, progress)
    return Group(*head, picture.draw(progress, now, width, height - len(head), events))


def _head(sweep: Sweep, paths: SweepPaths, progress: SweepProgress, now: float) -> Iterator[str]:
    holder, root = progress.holder, shown(paths.root)
    runs = "no dispatcher runs" if holder is None else f"a dispatcher runs ({_who(holder, now)})"
    yield f"{sweep.name}: {runs}; root {root}"
    yield from remarks(progress)


def _who(holder: Holder, now: float) -> str:
    if holder.pid is None:
        return "which process it is, is not known here"
    return f"pid {holder.pid}, for {format_duration(max(0.0, now - holder.at))}"


def remarks(progress: SweepProgress) -> Iterator[str]:
    """Yield what is to be known before the tables are read."""
    if progress.file_changed and progress.holder is not None:
        parts = [f"{count} {kind}" for kind, count in _file_changes(progress).items() if count]
        yield (
            f"the file has changed since the dispatcher read it{': ' if parts else ''}{', '.join(parts)}; "
            "`reload` has it read the file again"
        )
    if progress.priority and progress.holder is not None:
        yield f"its priority among the sweeps that wait for devices is {progress.priority}"
    if progress.only:
        who = "the last run was" if progress.holder is None else "the dispatcher was"
        words = " ".join(f"--only {shlex.quote(word)}" for word in progress.only)
        yield printable(f"{who} told {words}: {progress.left_out} task(s) left out", " ")
    if progress.left_the_file:
        yield (
            f"{len(progress.left_the_file)} task(s) with files here are not in the sweep file any more: "
            f"{_some(progress.left_the_file)}"
        )
    if progress.left_running:
        pids = progress.left_running_pids
        shown = [
            f"{n} (`kill {pids[n]}` ends it)" if n in pids else n for n in progress.left_running
        ]
        yield f"of these, an attempt still runs: {_some(shown)}"
    if progress.snapshot_of_code is not None:
        runs = "runs" if progress.holder is not None else "ran last"
        yield f"{runs} from a copy of the code ({progress.snapshot_of_code}): edits do not matter to it"
    yield from remarks_on_code(progress)
    if progress.unread_lines:
        yield f"journal: {progress.unread_lines} line(s) could not be read"


def _file_changes(progress: SweepProgress) -> dict[str, int]:
    """Return how many tasks of the file are not as the dispatcher has them, by what they are."""
    notes = Counter(view.note for view in progress.tasks.values())
    return {kind: notes[note] for note, kind in _KINDS.items()}


def _some(tasks: Sequence[str]) -> str:
    named = ", ".join(tasks[:_MOST_NAMED])
    return printable(named + (", …" if len(tasks) > _MOST_NAMED else ""), " ")


def as_json(
    name: str, paths: SweepPaths, progress: SweepProgress, now: float, picture: Picture
) -> dict[str, Any]:
    """Return the progress as JSON; times are seconds, times of day seconds since 1970."""
    tasks = []
    logs, gauges = picture.logs(progress), picture.gauges(progress, wait=True)
    left = picture.left(progress, logs, now)
    for task, view in progress.tasks.items():
        summary = view.summary or {}
        tasks.append(
            {
                "task": task,
                "state": view.state,
                "attempts": view.attempts,
                "timed_stage_attempts": view.stage_attempts or None,
                "device": view.devices[0] if view.devices else None,
                "devices": list(view.devices),
                "started": view.started,
                "seconds": view.seconds,
                "cause": view.cause if view.state != DONE else None,
                "log_line": log_line(paths, task, view),
                "progress": logs[task].progress or None if task in logs else None,
                "share": logs[task].share if task in logs else None,
                "note": view.note,
                "left_out": view.left_out,
                "source": view.source,
                "other_code": [name or "commit" for name in view.other_code],
                "waits": why_waits(task, progress, now) if view.state == WAITING else None,
                **_answer_as_json(summary),
                "conclusion": conclusion_of(summary) or None,
            }
        )
    holder = progress.holder
    limit = progress.limit if holder is not None else Limit()
    return {
        "version": VERSION,
        "sweep": name,
        "root": str(paths.root),
        "dispatcher": _holder_as_json(holder),
        "file_changed": progress.file_changed,
        "file_changes": _file_changes(progress),
        "only": list(progress.only),
        "left_out": progress.left_out,
        "left_the_file": progress.left_the_file,
        "left_running": progress.left_running,
        "left_running_pids": progress.left_running_pids,
        "snapshot": progress.snapshot_of_code,
        "priority": progress.priority,
        "waits_for_share": progress.asks_for_share and holder is not None,
        "paused": progress.trouble,
        "paused_by": progress.paused_by,
        "braked": progress.braked,
        "at_most": limit.devices,
        "at_most_until": limit.until,
        "at_most_zone": limit.zone,
        "draining": progress.draining and holder is not None,
        "counts": progress.counts,
        "journal_lines_unread": progress.unread_lines,
        "seconds_left": left and left.seconds,
        "seconds_left_basis": left and left.basis,
        "idle_device_seconds": progress.idle_seconds,
        "lost_device_seconds": progress.lost_seconds,
        "median_gap_seconds": progress.median_gap(),
        "devices": [
            {
                "device": device,
                "index": view.index,
                "name": view.name,
                "gauges": asdict(gauges[device]) if device in gauges else None,
                "cores": view.cores,
                "task": view.tasks[0] if view.tasks else None,
                "tasks": view.tasks,
                "room": view.room,
                "shared": view.sharing and bool(view.tasks),
                "idle": view.idle and not view.tasks,
                "reason": f"runs {', '.join(view.tasks)}" if view.tasks else view.reason,
                "aside_until": view.aside_until if view.aside_until > now else None,
                "aside_why": view.aside_why if view.aside_until > now else None,
                "drained": view.drained,
            }
            for device, view in progress.devices.items()
        ],
        "tasks": tasks,
    }


def log_line(paths: SweepPaths, task: str, view: TaskView) -> str | None:
    """Return the line of a failed task's log that shows why."""
    if view.state != FAILED:
        return None
    return line_that_shows(paths.log(task), view.cause or "") or None


def _answer_as_json(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a worker's summary says of the best, and what the attempt had in place of arguments."""
    numbers = {name: as_number(summary.get(name)) for name in _NUMBERS}
    within, best = summary.get("within"), best_of(summary) or None
    beats = _of_the_best(summary, "beats_fewer_steps")
    told = _of_the_best(summary, "told_apart")
    ends = told if isinstance(told, dict) else {}
    return {
        **numbers,
        "best": best,
        "within": within if isinstance(within, bool) else None,
        "speedup_interval": _interval(ends.get("speedup_interval")),
        "loss_interval": _interval(ends.get("loss_interval")),
        "beats_fewer_steps": beats if isinstance(beats, str) else None,
        "halved": dict(overrides_of(summary)),
    }


def _of_the_best(summary: Mapping[str, Any], key: str) -> object:
    """Return what a table of the summary by label says of the best."""
    by_label, best = summary.get(key), summary.get("best")
    return by_label.get(best) if isinstance(by_label, dict) and isinstance(best, str) else None


def _interval(ends: object) -> list[float | None] | None:
    return [as_number(end) for end in ends] if isinstance(ends, list) and len(ends) == 2 else None


def _holder_as_json(holder: Holder | None) -> dict[str, Any] | None:
    if holder is None:
        return None
    return {"pid": holder.pid, "since": holder.at if holder.pid is not None else None}
