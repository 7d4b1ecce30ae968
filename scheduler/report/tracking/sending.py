"""Sends measurements that a tracker has not got yet; which it has is on file beside the checkpoints.

A row is on file once the tracker has it, so what a crash interrupts is sent again, and lands on the same run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler.config.printable import printable
from scheduler.config.sweep import Sweep, Task, TrackSettings
from scheduler.report.tracking.trackers import Run, Step
from scheduler.storage.atomic import append_line
from scheduler.storage.json_files import as_number, lines_of, parse_object
from scheduler.storage.paths import SweepPaths
from scheduler.storage.regular_files import make_way, open_binary

_MOST_AT_ONCE = 200  # rows of one task
_MOST_FAILURES = 3  # in a row, after which the tracker counts as down
_LONGEST = 500  # characters of a text that is sent
_NO_NAME = re.compile(r"[^\w. -]")  # what one of the trackers takes in no name


@dataclass(frozen=True)
class Outcome:
    """How many rows were sent, and of which tasks some were not, with the reason."""

    sent: int
    failed: Mapping[str, str]


def send_new_rows(
    sweep: Sweep,
    settings: TrackSettings,
    paths: SweepPaths,
    send: Callable[[Run, Sequence[Step]], None],
) -> Outcome:
    """Send what is new, task by task; the caller sees to it that nobody else does.

    Raises:
        OSError: what was sent cannot be recorded.
    """
    ledger = _Ledger(paths.tracked, settings)
    sent, failed, in_a_row = 0, dict[str, str](), 0
    for task in sweep.tasks:
        try:
            sent += _send_task(sweep, task, paths.results(task.id), ledger, send)
            in_a_row = 0
        except _NotRecorded as error:
            raise error.cause from None
        except Exception as error:  # noqa: BLE001  # whatever a tracker's package raises
            failed[task.id] = printable(f"{type(error).__name__}: {error}", " ")[:_LONGEST]
            in_a_row += 1
        if in_a_row == _MOST_FAILURES:
            break
    return Outcome(sent, failed)


def _send_task(
    sweep: Sweep,
    task: Task,
    results: Path,
    ledger: _Ledger,
    send: Callable[[Run, Sequence[Step]], None],
) -> int:
    state = _state_of(results)
    if state is None or state == ledger.files.get(task.id):
        return 0
    known, run = ledger.rows[task.id], ledger.run(sweep, task)
    new = {mark: row for mark, row in _rows(results) if mark not in known}
    marks = list(new)
    for start in range(0, len(marks), _MOST_AT_ONCE):
        part = marks[start : start + _MOST_AT_ONCE]
        steps = [_step(ledger.steps[run.key] + n, new[mark]) for n, mark in enumerate(part)]
        send(run, steps)
        ledger.add(task.id, run.key, part)
    ledger.seen(task.id, state)
    return len(new)


class _NotRecorded(Exception):  # noqa: N818  # it carries one
    def __init__(self, cause: OSError) -> None:
        self.cause = cause


class _Ledger:
    """What a tracker's project has got: of each task the digests of its rows, by the file's lines."""

    def __init__(self, path: Path, settings: TrackSettings) -> None:
        self._path = path
        self._project = settings.project
        self._to = f"{settings.to} {settings.project}"
        self.rows: defaultdict[str, set[str]] = defaultdict(set)
        self.steps: defaultdict[str, int] = defaultdict(int)
        # Results files as they were when all of their rows had been sent.
        self.files: dict[str, list[int]] = {}
        # Runs belong to this file: where it is removed, all is sent again, to new ones.
        self._key = ""
        for line in _objects(path):
            self._key = self._key or str(line.get("key", ""))
            if line.get("to") == self._to:
                self._take(line)
        if not self._key:
            self._key = os.urandom(8).hex()
            make_way(path)
            append_line(path, {"key": self._key})

    def _take(self, line: Mapping[str, Any]) -> None:
        task, rows = str(line.get("task")), line.get("rows")
        if isinstance(rows, list):
            self.rows[task].update(map(str, rows))
            self.steps[str(line.get("run"))] += len(rows)
        if isinstance(file := line.get("file"), list):
            self.files[task] = file

    def run(self, sweep: Sweep, task: Task) -> Run:
        """Return the run of a task as the sweep file has it today: other settings are another run."""
        parts = (self._key, self._to, sweep.name, task.id, sweep.digest(task))
        key = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:24]
        return Run(key, self._project, sweep.name, task.id, dict(_params(sweep, task)))

    def add(self, task: str, run: str, rows: Sequence[str]) -> None:
        """Record that the tracker has these rows."""
        self._append({"to": self._to, "task": task, "run": run, "rows": rows})

    def seen(self, task: str, state: list[int]) -> None:
        """Record that the tracker has all that the results file held in that state."""
        self._append({"to": self._to, "task": task, "file": state})

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            append_line(self._path, line)
        except OSError as error:
            raise _NotRecorded(error) from error
        self._take(line)


def _state_of(path: Path) -> list[int] | None:
    try:
        state = path.lstat()
    except OSError:
        return None
    return [state.st_ino, state.st_size, state.st_mtime_ns]


def _objects(path: Path) -> Iterator[Mapping[str, Any]]:
    for line in _lines(path):
        if (content := parse_object(line)) is not None:
            yield content


def _lines(path: Path) -> Iterator[bytes]:
    with contextlib.suppress(OSError), open_binary(path) as file:
        yield from lines_of(file)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each measurement with the digest of its line; a line that is cut off is none yet."""
    for line in _lines(path):
        if line.endswith(b"\n") and (row := parse_object(line)) and "metrics" in row:
            yield hashlib.sha256(line).hexdigest()[:16], row


def _step(number: int, row: Mapping[str, Any]) -> Step:
    study = f" ({row['study']})" if row.get("study") else ""
    metrics = row["metrics"]
    return Step(
        number,
        _text(f"{row.get('label', '')}{study}") or "–",
        dict(_figures(metrics if isinstance(metrics, list) else [])),
    )


def _figures(metrics: Sequence[Any]) -> Iterator[tuple[str, float]]:
    for metric in metrics:
        if isinstance(metric, dict):
            for end, suffix in (("value", ""), ("low", ".low"), ("high", ".high")):
                if (figure := as_number(metric.get(end))) is not None:
                    yield f"{_name(str(metric.get('name', '')))}{suffix}", figure


def _params(sweep: Sweep, task: Task) -> Iterator[tuple[str, str]]:
    settings = sweep.settings
    for axis, value in sweep.matrix(task).items():
        yield _name(axis), _text(value)
    for name, value in settings["args"].items():
        yield f"args.{_name(name)}", _text(value)
    if settings["search"] is not None:
        yield "search", _text(settings["search"])


def _name(text: str) -> str:
    return _NO_NAME.sub("_", text).strip("._ ")[:100] or "unnamed"


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return printable(text, " ")[:_LONGEST]
