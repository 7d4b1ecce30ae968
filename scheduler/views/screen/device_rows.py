"""A row for each device: what it does, what runs on it, how far that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from scheduler.config.units import format_duration
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DeviceView
from scheduler.devices.model import Gauges
from scheduler.views.messages import clock_time
from scheduler.views.screen.gauges import UNKNOWN
from scheduler.views.screen.log_glance import LogGlance
from scheduler.views.shortened import shortened

_GAP = 2  # columns between two
_LEAST_OF_A_NAME = 10  # columns of a task's name, before others give way to it
_ENOUGH_OF_A_NAME = 32  # columns, before it gives way to what is worth less
_LEAST_OF_A_LOG = 16
NOT_TOLD = "–"  # a figure that NVML does not give


@dataclass(frozen=True, slots=True)
class _Row:
    """A device, and what runs there if anything does."""

    device: DeviceView
    gauges: Gauges
    task: str | None
    # Its attempt's number, in its stage if it has two, and the time of day at which that began.
    attempt: int
    started: float | None
    log: LogGlance
    # What is expected of it in all, in seconds; None: nothing is known.
    expected: float | None
    # Why nothing runs there, or what is to be known besides.
    remark: str


def device_rows(
    progress: SweepProgress,
    gauges: Mapping[str, Gauges],
    logs: Mapping[str, LogGlance],
    now: float,
    most: int | None = None,
) -> tuple[list[_Row], str]:
    """Return a row for each device, one for each task where several share it, and what is left out.

    Of more than ``most`` rows those of devices that run something come first, and the rest is counted.
    """
    rows = []
    for name, device in progress.devices.items():
        tasks: Sequence[str | None] = device.tasks or [None]
        for task in tasks:
            view = progress.tasks.get(task) if task is not None else None
            rows.append(
                _Row(
                    device,
                    gauges.get(name, UNKNOWN),
                    task,
                    view.attempts - view.stage_attempts if view is not None else 0,
                    view.started if view is not None else None,
                    logs.get(task, LogGlance()) if task is not None else LogGlance(),
                    _typical(progress),
                    _remark(device, task, now),
                )
            )
    if most is None or len(rows) <= most:
        return rows, ""
    busy_first = sorted(range(len(rows)), key=lambda number: rows[number].task is None)
    shown = set(busy_first[: max(0, most - 1)])  # the last line counts the others
    left = [row for number, row in enumerate(rows) if number not in shown]
    run = sum(row.task is not None for row in left)
    parts = [f"{run} run"] * (run > 0) + [f"{len(left) - run} do not"] * (run < len(left))
    what = "more devices" if len(rows) == len(progress.devices) else "more"
    return [rows[number] for number in sorted(shown)], f"… {len(left)} {what}: {', '.join(parts)}"


def _typical(progress: SweepProgress) -> float | None:
    recent = progress.durations
    return sum(recent) / len(recent) if recent else None


def _remark(device: DeviceView, task: str | None, now: float) -> str:
    if device.drained:
        return "drained by hand"
    if task is not None:
        return ""
    if device.aside_until > now:
        return f"set aside until {clock_time(device.aside_until)}"
    return device.reason


def device_table(rows: Sequence[_Row], now: float, width: int) -> Table:
    """Return the rows with the columns that the width has room for; names of tasks give way first."""
    cells = {name: [make(row, now) for row in rows] for name, make in _COLUMNS.items()}
    widths = {name: max(map(cell_len, (name, *column))) for name, column in cells.items()}
    names = widths["task"]
    least = {**widths, "log": _LEAST_OF_A_LOG}
    chosen: set[str] = set()
    for name in _IN_ORDER_OF_WORTH:
        if name in _OPTIONAL and not any(cell.strip(NOT_TOLD) for cell in cells[name]):
            continue  # nobody tells it here: CPU slots have no temperature
        least["task"] = min(names, _LEAST_OF_A_NAME if name in _BEFORE_NAMES else _ENOUGH_OF_A_NAME)
        room = sum(least[each] + _GAP for each in (*chosen, name)) - _GAP
        if room <= width or name in ("device", "task"):
            chosen.add(name)
    fixed = sum(widths[name] + _GAP for name in chosen if name not in ("task", "log"))
    reserved = _LEAST_OF_A_LOG + _GAP if "log" in chosen else 0
    for_task = max(_LEAST_OF_A_NAME, min(names, width - fixed - reserved))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), expand="log" in chosen)
    shown = [name for name in _COLUMNS if name in chosen]
    for name in shown:
        table.add_column(
            name,
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if name in _NUMERIC else "left",
            ratio=1 if name == "log" else None,
        )
    for number, row in enumerate(rows):
        table.add_row(
            *(
                _styled(
                    name,
                    row,
                    shortened(cells[name][number], for_task)
                    if name == "task"
                    else cells[name][number],
                )
                for name in shown
            )
        )
    return table


def _styled(name: str, row: _Row, cell: str) -> Text:
    return Text(cell, style="dim" if name == "log" or row.task is None else "")


def _task(row: _Row, _now: float) -> str:
    if row.task is None:
        return f"({row.remark})"
    number = f" (attempt {row.attempt})" if row.attempt > 1 else ""
    return row.task + number + (f"; {row.remark}" if row.remark else "")


def _done(row: _Row, now: float) -> str:
    if row.task is None:
        return ""
    if (share := row.log.share) is not None:
        return f"{share:.0%} {row.log.in_short}"
    if row.expected and row.started is not None:  # by what tasks took before
        return f"~{min(0.99, max(0.0, now - row.started) / row.expected):.0%}"
    return ""


def _memory(row: _Row, _now: float) -> str:
    used, total = row.gauges.used_memory, row.gauges.total_memory
    if used is None or total is None:
        return NOT_TOLD
    return f"{used / 2**30:.1f}/{total / 2**30:.0f}G"


def _figure(figure: float | None, unit: str) -> str:
    return NOT_TOLD if figure is None else f"{figure:.0f}{unit}"


_COLUMNS: dict[str, Callable[[_Row, float], str]] = {
    "device": lambda row, _: row.device.label + (row.device.share_of(row.task) if row.task else ""),
    "name": lambda row, _: row.device.name,
    "util": lambda row, _: _figure(row.gauges.utilization, "%"),
    "memory": _memory,
    "power": lambda row, _: _figure(row.gauges.power, "W"),
    "temp": lambda row, _: _figure(row.gauges.temperature, "°C"),
    "task": _task,
    "done": _done,
    "for": lambda row, now: (
        format_duration(now - row.started) if row.task and row.started is not None else ""
    ),
    "since": lambda row, _: clock_time(row.started) if row.task and row.started is not None else "",
    "log": lambda row, _: row.log.last if row.task else "",
}
_IN_ORDER_OF_WORTH = (
    *("device", "task", "done", "for", "util", "memory", "temp", "power", "log", "since", "name"),
)
_BEFORE_NAMES = ("done", "for", "util", "memory")
_OPTIONAL = ("util", "memory", "power", "temp", "done")
_NUMERIC = ("util", "memory", "power", "temp", "for")
