"""How a sweep stands, drawn for a terminal of any size: progress, the best, devices, failures, events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scheduler.config.matrix.values import value_text
from scheduler.config.printable import printable
from scheduler.config.sweep import Sweep
from scheduler.config.units import format_duration
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, FAILED, RUNNING, WAITING
from scheduler.devices.model import Gauges
from scheduler.storage.paths import SweepPaths
from scheduler.views.logs.text import harmless
from scheduler.views.messages import best_of, limit_text, speedup_and_loss
from scheduler.views.screen.device_rows import device_rows, device_table
from scheduler.views.screen.gauges import GaugeReader
from scheduler.views.screen.log_glance import LogGlance, glance_at
from scheduler.views.screen.time_left import Estimator, TimeLeft
from scheduler.views.shortened import shortened

_FEWEST_EVENTS = 3  # before devices are left out for want of room
_MOST_FAILED = 5
_PATIENCE = 0.5  # seconds that `status` waits for what devices do


class Picture:
    """What is drawn of one sweep; it remembers what need not be read anew each time."""

    def __init__(self, sweep: Sweep, paths: SweepPaths) -> None:
        self._paths = paths
        self._estimator = Estimator(
            {task.id: tuple(map(value_text, task.values)) for task in sweep.tasks}
        )
        self._gauges = GaugeReader()

    def logs(self, progress: SweepProgress) -> dict[str, LogGlance]:
        """Return what the logs of the tasks on devices tell."""
        running = (task for device in progress.devices.values() for task in device.tasks)
        return {task: glance_at(self._paths.log(task)) for task in running}

    def gauges(self, progress: SweepProgress, *, wait: bool) -> Mapping[str, Gauges]:
        """Return what devices do: as last seen, or as seen now."""
        if wait:
            return self._gauges.now(progress.devices, _PATIENCE)
        return self._gauges.ask(progress.devices)

    def left(
        self, progress: SweepProgress, logs: Mapping[str, LogGlance], now: float
    ) -> TimeLeft | None:
        """Return about how long the sweep still takes."""
        shares = {task: share for task, log in logs.items() if (share := log.share) is not None}
        return self._estimator.left(progress, shares, now)

    def draw(
        self,
        progress: SweepProgress,
        now: float,
        width: int,
        height: int | None = None,
        events: Sequence[str] = (),
    ) -> Group:
        """Return what fits, most important first: progress, some events, the devices, failures.

        Args:
            progress: how the sweep stands.
            now: time of day in seconds.
            width: columns.
            height: lines; None: as many as it takes, and figures of devices are waited for.
            events: the last ones, the newest last.
        """
        logs = self.logs(progress)
        gauges = self.gauges(progress, wait=height is None)
        top = list(progress_rows(progress, self.left(progress, logs, now), now, width))
        if (best := best_line(progress, width)) is not None:
            top.append(best)
        runs = bool(progress.devices) and bool(progress.holder or progress.counts[RUNNING])
        if height is None:
            rows, _ = device_rows(progress, gauges, logs, now)
            return Group(*top, device_table(rows, now, width)) if runs else Group(*top)
        if not runs:
            failed = list(failed_lines(progress, width))[: max(0, height - len(top))]
            return Group(*top, *failed, *_last(events, height - len(top) - len(failed)))
        room = height - len(top) - 1  # the heading of the devices
        count = sum(max(1, len(device.tasks)) for device in progress.devices.values())
        fewest = min(len(events), _FEWEST_EVENTS, max(0, room - 1))
        rows, more = device_rows(progress, gauges, logs, now, most=room - fewest)
        parts: list[RenderableType] = [*top, device_table(rows, now, width)]
        parts += [_line(more, "dim")] if more else []
        room -= min(count, room - fewest)
        failed = list(failed_lines(progress, width))[: max(0, room - fewest)]
        parts += failed
        room -= len(failed)
        return Group(*parts, *_last(events, room))


def progress_rows(
    progress: SweepProgress, left: TimeLeft | None, now: float, width: int
) -> Iterator[Table | Text]:
    """Yield the bar over all tasks with counts and the time left, and a line on trouble if there is any.

    Each takes one line of ``width`` columns; the basis of the estimate and the bar give way to the words.
    """
    counts, total = progress.counts, len(progress.tasks)
    over = counts[DONE] + counts[FAILED]
    text = _line(" · ".join(_counts(progress, left)))
    if text.cell_len > width:
        text = _line(" · ".join(_counts(progress, left, short=True)))
    if left is not None and over < total and text.cell_len + len(left.basis) + 3 <= width:
        text.append(f" ({left.basis})")
    row = Table.grid(padding=(0, 1))
    bar = min(30, width - text.cell_len - 1)
    if bar >= 5:
        row.add_row(ProgressBar(total=max(1, total), completed=over, width=bar), text)
    else:
        row.add_row(text)
    yield row
    yield from _trouble(progress)


def _counts(
    progress: SweepProgress, left: TimeLeft | None, *, short: bool = False
) -> Iterator[str]:
    counts, total = progress.counts, len(progress.tasks)
    completed, running, waiting, failed = (
        ("done", "run", "wait", "fail") if short else ("completed", "running", "waiting", "failed")
    )
    yield f"{counts[DONE]}/{total} {completed}"
    yield f"{counts[RUNNING]} {running}"
    yield f"{counts[WAITING]} {waiting}"
    if counts[FAILED]:
        yield f"{counts[FAILED]} {failed}"
    if counts[DONE] + counts[FAILED] < total:
        if left is None:
            yield "no estimate yet"
        else:
            yield f"{'~' if short else 'about '}{format_duration(left.seconds)} left"


def _trouble(progress: SweepProgress) -> Iterator[Text]:
    if progress.holder is not None and progress.trouble:
        yield _line(f"paused: {progress.trouble}", "bold red")
    if progress.paused_by is not None:
        by = f"paused by hand ({progress.paused_by})"
        yield _line(f"{by}: nothing new is started; `resume` lets it go on", "yellow")
    if progress.braked:
        verb = "stops" if progress.holder is not None else "the last run stopped"
        yield _line(printable(f"{verb}: {progress.braked}", " "), "bold red")
    if progress.holder is not None and progress.limit.devices is not None:
        yield _line(f"devices: {limit_text(progress.limit)}")
    if progress.holder is not None and progress.draining:
        what_follows = progress.drains_for or "Ctrl-C again stops what runs"
        yield _line(f"draining: nothing new is started; {what_follows}", "yellow")


def best_line(progress: SweepProgress, width: int) -> Text | None:
    """Return the fastest configuration that surely keeps its task's bound; None: no summary names one."""
    named = [
        (task, view.summary)
        for task, view in progress.tasks.items()
        if view.state == DONE and view.summary and best_of(view.summary)
    ]
    if not named:
        return None
    sure = [(task, summary) for task, summary in named if summary.get("within") is True]
    task, summary = max(sure or named, key=lambda one: _speedup(one[1]))
    speedup, loss = speedup_and_loss(summary)
    figures = ", ".join(filter(None, (speedup, loss and f"loss {loss}")))
    head = "best so far: " if sure else "nothing sure yet; perhaps "
    words = f"{head}{best_of(summary)} {figures} "
    return _line(words + f"({shortened(task, max(10, width - len(words) - 2))})", "green")


def _speedup(summary: Mapping[str, object]) -> float:
    speedup = summary.get("speedup")
    return speedup if isinstance(speedup, float | int) else 0.0


def failed_lines(progress: SweepProgress, width: int) -> Iterator[Text]:
    """Yield a line for each of the tasks that failed last."""
    failed = [(task, view) for task, view in progress.tasks.items() if view.state == FAILED]
    for task, view in failed[-_MOST_FAILED:]:
        cause = harmless(view.cause or "")
        yield _line(f"failed: {shortened(task, width // 3)}: {cause}", "red")


def _last(events: Sequence[str], most: int) -> list[Text]:
    return [_line(event) for event in events[max(0, len(events) - max(0, most)) :]]


def _line(text: str, style: str = "") -> Text:
    """Return a text that takes one line, cut where there is no more room."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
