"""Tables of tasks and the figures below them, for the end of a run and for `status`."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from scheduler.config.printable import printable
from scheduler.config.units import format_duration
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, FAILED, RUNNING, WAITING, TaskView
from scheduler.core.verdict import Kind
from scheduler.storage.attempts_file import devices_in
from scheduler.storage.json_files import as_number, read_object
from scheduler.storage.paths import SweepPaths
from scheduler.views.answers import overrides_of
from scheduler.views.logs.ends import line_that_shows
from scheduler.views.messages import best_of, conclusion_of, labels, speedup_and_loss, why_waits
from scheduler.views.shortened import shortened

MANY = 200  # tasks; of more, the completed ones are only counted
_COLUMNS = ("task", "result", "attempts", "device", "time", "best", "speed-up", "loss")
_FEWEST_COLUMNS = ("task", "result", "best", "speed-up", "loss")  # of a narrow terminal
_NUMERIC = ("attempts", "time", "speed-up", "loss")
_GAP = 2  # between columns
_LEAST_OF_A_NAME = (
    16  # columns; before names of tasks get fewer, those of configurations are folded
)
_LONGEST_LINE = 120  # characters of a log's line
_LEAST_FOR_CAUSES = 40  # columns; in fewer, sentences are folded into a strip that nobody reads


def fill_from_checkpoints(progress: SweepProgress, paths: SweepPaths, tasks: Iterable[str]) -> None:
    """Complete the views of ended tasks with what their checkpoints say (the journal may be gone)."""
    for name in tasks:
        view = progress.tasks[name]
        if view.state not in (DONE, FAILED):
            continue
        usual = paths.done(name) if view.state == DONE else paths.failed(name)
        content = read_object(Path(view.checkpoint) if view.checkpoint else usual) or {}
        attempts = content.get("attempts")
        if isinstance(attempts, list):
            view.attempts, view.stage_attempts = len(attempts), _stage_attempts(attempts)
        view.seconds = as_number(content.get("seconds"))
        view.devices = devices_in(content)
        view.model = _model(content)
        view.summary = content if view.state == DONE else None
        view.source = source if isinstance(source := content.get("source"), dict) else None
        view.started = _last_start(content)
        if view.state == FAILED:
            view.cause = str(content.get("cause") or view.cause or "")


def _stage_attempts(attempts: Sequence[object]) -> int:
    """Return how many of a checkpoint's attempts it took to do the timed stage; 0: it was not done."""
    verdicts = [one.get("verdict") if isinstance(one, dict) else None for one in attempts]
    done = Kind.STAGE_DONE.value
    return verdicts.index(done) + 1 if done in verdicts else 0


def _model(content: Mapping[str, Any]) -> str | None:
    """Return the model of the GPUs of a task's last attempt; None: it had none, or none is recorded."""
    name, devices = content.get("device_name"), devices_in(content)
    if not isinstance(name, str) or any(device.startswith("cpu:") for device in devices):
        return None
    attempts = content.get("attempts")
    last = attempts[-1] if isinstance(attempts, list) and attempts else None
    place = last.get("place") if isinstance(last, dict) else None
    is_slot = isinstance(place, dict) and not place.get("gpus")  # named by what its job asked for
    return None if is_slot else name


def _last_start(content: Mapping[str, Any]) -> float | None:
    attempts = content.get("attempts")
    last = attempts[-1] if isinstance(attempts, list) and attempts else None
    return as_number(last.get("started")) if isinstance(last, dict) else None


@dataclass(frozen=True)
class TaskTable:
    """A row per task, and its cause beside it; below the table where the terminal has no room for that."""

    rows: Sequence[tuple[Text, ...]]  # a cell for each of _COLUMNS, and the cause

    def __rich_console__(
        self, _console: Console, options: ConsoleOptions
    ) -> Iterator[Table | Text]:
        """Yield the table that fits, and the causes that it does not hold."""
        longest = max(cell_len(row[-1].plain) for row in self.rows)
        columns = self._filled(_COLUMNS)
        room = options.max_width - self._width(columns)
        beside = room >= _GAP + min(longest, _LEAST_FOR_CAUSES)
        if room < 0:
            columns = self._filled(_FEWEST_COLUMNS)
            room = options.max_width - self._width(columns)
        yield self._table(columns, min(0, room), with_causes=beside and longest > 0)
        if not beside:
            yield from (Text(f"{row[0]}: {row[-1]}") for row in self.rows if row[-1].plain)

    def _filled(self, columns: Sequence[str]) -> list[str]:
        """Return the columns less that of the best, where no worker names any."""
        return [name for name in columns if name != "best" or any(self._cells(name))]

    def _cells(self, name: str) -> list[str]:
        return [row[_COLUMNS.index(name)].plain for row in self.rows]

    def _width_of(self, name: str) -> int:
        return max(cell_len(name), *map(cell_len, self._cells(name)))

    def _width(self, columns: Sequence[str]) -> int:
        return sum(map(self._width_of, columns)) + _GAP * (len(columns) - 1)

    def _table(self, columns: Sequence[str], room: int, *, with_causes: bool) -> Table:
        """Return the table; names of tasks give way where there is too little room (less than 0)."""
        table = Table(box=None, pad_edge=False)
        width = max(_LEAST_OF_A_NAME, self._width_of("task") + room)
        for name in columns:
            folds = name == "best"
            table.add_column(
                name,
                no_wrap=not folds,
                overflow="fold" if folds else "ellipsis",
                justify="right" if name in _NUMERIC else "left",
            )
        if with_causes:
            table.add_column("cause", overflow="fold")
        for row in self.rows:
            cells = [row[_COLUMNS.index(name)] for name in columns]
            cells[0] = Text(shortened(cells[0].plain, width))
            table.add_row(*cells, *([row[-1]] if with_causes else []))
        return table


def closing(
    progress: SweepProgress, paths: SweepPaths, now: float
) -> Iterator[TaskTable | Table | str]:
    """Yield what ends a run, and `status`: tasks, pass rates where there are any, figures."""
    tasks = task_table(progress, paths, now)
    if tasks.rows:
        yield tasks
    left_out = len(progress.tasks) - len(tasks.rows)
    if left_out:
        more = " more" if tasks.rows else ""
        yield f"({left_out}{more} tasks are only counted; `status --json` lists them all)"
    if (levels := level_table(progress, paths)) is not None:
        yield levels
    yield from remark_on_models(progress)
    yield figures(progress)


def remark_on_models(progress: SweepProgress) -> Iterator[str]:
    """Yield a sentence if tasks were completed on devices of several models, as far as views tell."""
    done = (view for view in progress.tasks.values() if view.state == DONE)
    models = Counter(view.model for view in done if view.model is not None)
    if len(models) > 1:
        each = ", ".join(f"{model} ({count})" for model, count in models.most_common())
        yield printable(
            f"tasks ran on devices of {len(models)} models: {each}; their times do not compare", " "
        )


def task_table(progress: SweepProgress, paths: SweepPaths, now: float) -> TaskTable:
    """Return a row per task; of a large sweep, those that are not completed."""
    names = list(progress.tasks)
    if len(names) > MANY:
        names = [name for name in names if progress.tasks[name].state in (RUNNING, FAILED)][:MANY]
    fill_from_checkpoints(progress, paths, names)
    rows = []
    for name in names:
        view = progress.tasks[name]
        cause = Text(_cause(name, view, progress, now, paths))
        rows.append((Text(name), *_cells(view, progress, now), cause))
    return TaskTable(rows)


def _cells(view: TaskView, progress: SweepProgress, now: float) -> list[Text]:
    if view.state == WAITING:  # where and how long it ran before is no part of how it stands
        return [Text(view.state), Text(view.attempts_text), *[Text("")] * 5]
    style = {DONE: "green", FAILED: "bold red", RUNNING: "cyan"}.get(view.state, "")
    seconds = view.ran_for(now) if view.state == RUNNING else view.seconds
    speedup, loss = speedup_and_loss(view.summary or {})
    return [
        Text(view.state, style=style),
        Text(view.attempts_text),
        Text(labels(view.devices, progress)),
        Text(format_duration(seconds) if seconds is not None else ""),
        Text(best_of(view.summary or {})),
        Text(speedup),
        Text(loss),
    ]


def _cause(
    name: str, view: TaskView, progress: SweepProgress, now: float, paths: SweepPaths
) -> str:
    if view.state == FAILED:
        cause = view.cause or ""
        line = line_that_shows(paths.log(name), cause)[:_LONGEST_LINE]
        return cause if line in cause else f"{cause}; its log ends: {line}"
    if view.state == WAITING:
        failed = f"; attempt {view.attempts} failed: {view.cause}" if view.cause else ""
        return f"{why_waits(name, progress, now)}{failed}"
    if view.note is not None:
        return view.note
    if view.state == RUNNING and progress.holder is None:
        return "runs on without a dispatcher; the same command takes it over"
    if view.state != DONE:
        return ""
    summary = view.summary or {}
    halved = [
        f"{name} halved to {value}: memory ran out" for name, value in overrides_of(summary).items()
    ]
    return printable("; ".join(filter(None, (*halved, conclusion_of(summary)))), " ")


def level_table(progress: SweepProgress, paths: SweepPaths) -> Table | None:
    """Return pass rate and mean achievement per level, where workers' summaries speak of passing.

    Their keys: ``passed`` (true, false, or null: cannot tell), ``level``, ``achievement`` (0 to 1).
    """
    completed = [name for name, view in progress.tasks.items() if view.state == DONE]
    # One worker made them all: if it says nothing of passing in the first, the others need not be read.
    fill_from_checkpoints(progress, paths, completed[:1])
    if not any("passed" in (progress.tasks[name].summary or {}) for name in completed[:1]):
        return None
    fill_from_checkpoints(progress, paths, completed[1:])
    levels: dict[str, list[Mapping[str, Any]]] = {}
    for view in progress.tasks.values():
        if view.summary is not None and "passed" in view.summary:
            levels.setdefault(str(view.summary.get("level", "")), []).append(view.summary)
    table = Table(box=None, pad_edge=False)
    for column in ("level", "passed", "rate", "not known", "achievement"):
        table.add_column(column, justify="left" if column == "level" else "right")
    for level in sorted(levels):
        summaries = levels[level]
        passed = sum(summary["passed"] is True for summary in summaries)
        unknown = sum(summary["passed"] is None for summary in summaries)
        achievements = (as_number(summary.get("achievement")) for summary in summaries)
        reached = [number for number in achievements if number is not None]
        table.add_row(
            Text(level),
            f"{passed} of {len(summaries)}",
            f"{passed / len(summaries):.0%}",
            str(unknown or ""),
            f"{statistics.fmean(reached):.2f}" if reached else "",
        )
    return table


def figures(progress: SweepProgress) -> str:
    """Return the closing line: counts, and what the devices' time was lost to."""
    counts = progress.counts
    parts = [f"{counts[DONE]} of {len(progress.tasks)} completed"]
    parts += [f"{counts[state]} {state}" for state in (RUNNING, WAITING, FAILED) if counts[state]]
    if progress.left_out:
        parts.append(f"{progress.left_out} left out by --only")
    if progress.devices:
        parts.append(f"idle while tasks waited: {progress.idle_seconds:.1f} device-seconds")
        parts.append(f"lost to failures: {progress.lost_seconds:.1f} device-seconds")
    gap = progress.median_gap()
    if gap is not None:
        parts.append(f"median gap between tasks on a device: {gap * 1000:.1f} ms")
    return " · ".join(parts)
