"""What of a sweep is still ahead, in images, calls or what else its worker counts, and in time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from scheduler.config.matrix.values import value_text
from scheduler.config.placeholders import UnsetVariable
from scheduler.config.printable import printable
from scheduler.config.sweep import Sweep, Task
from scheduler.config.units import format_duration
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, WAITING
from scheduler.core.tables.order import learned
from scheduler.executors.worker_process import ask_what_is_ahead
from scheduler.storage.json_files import as_number, read_object
from scheduler.storage.paths import SweepPaths

_MOST = 1000  # tasks that are asked about, and completions that are read

Work = Mapping[str, tuple[Mapping[str, int], float]]


def ahead_in_words(sweep: Sweep, paths: SweepPaths, progress: SweepProgress) -> Iterator[str]:
    """Yield how much is ahead of the tasks that wait, and about how long that takes, with the basis."""
    waiting = [task for task in sweep.tasks if progress.tasks[task.id].state == WAITING]
    if not waiting:
        return
    work = _asked(sweep)
    counted: Counter[str] = Counter()
    for task in waiting:
        counted.update(work[task.id][0] if task.id in work else {})
    parts = [f"{count:,} {printable(what, ' ')}" for what, count in counted.items()]
    least = f": at least {', '.join(parts)}" if parts else ""
    unknown = sum(task.id not in work for task in waiting) if parts else 0
    but = f" (of {unknown} it is not known)" if unknown else ""
    yield f"ahead: {len(waiting)} task(s) that wait{least}{but}"
    yield f"time ahead: {_time(sweep, waiting, work, _took(sweep, paths, progress))}"


def _asked(sweep: Sweep) -> Work:
    if sweep.check is None or len(sweep.tasks) > _MOST:
        return {}
    try:
        environment = {**os.environ, **sweep.own_environment(os.environ)}
    except UnsetVariable:
        return {}
    return ask_what_is_ahead(sweep.check, sweep.question(), environment)


def _took(sweep: Sweep, paths: SweepPaths, progress: SweepProgress) -> dict[int, float]:
    """Return what completed tasks took, in seconds by their number: one attempt may go on from another."""
    done = [n for n, task in enumerate(sweep.tasks) if progress.tasks[task.id].state == DONE]
    found = {}
    for number in done[:: 1 + len(done) // _MOST]:
        attempts = (read_object(paths.done(sweep.tasks[number].id)) or {}).get("attempts")
        seconds = sum(map(_seconds, attempts if isinstance(attempts, list) else ()))
        if seconds > 0:
            found[number] = seconds
    return found


def _seconds(attempt: object) -> float:
    if not isinstance(attempt, dict):
        return 0.0
    started, ended = as_number(attempt.get("started")), as_number(attempt.get("ended"))
    return max(0.0, ended - started) if started is not None and ended is not None else 0.0


def _time(sweep: Sweep, waiting: Sequence[Task], work: Work, took: Mapping[int, float]) -> str:
    """Return the time as text, with what it is taken from.

    Seconds for a unit of work, where the worker says how much work tasks are, go from one number of steps to
    another, as bare seconds do not.
    """
    if not took:
        return "not known: no task of this sweep is completed yet"
    names = [task.id for task in sweep.tasks]
    by_work = all(name in work for name in (*(names[n] for n in took), *(t.id for t in waiting)))
    size = {
        name: work[name][1] if by_work else 1.0 for name in names if name in work or not by_work
    }
    rates = {number: seconds / size[names[number]] for number, seconds in took.items()}
    order = learned([tuple(map(value_text, task.values)) for task in sweep.tasks], rates)
    numbers = {name: number for number, name in enumerate(names)}
    total = sum((order.expected(numbers[task.id]) or 0.0) * size[task.id] for task in waiting)
    unit = "GPU-hours" if sweep.runs_on == "GPU" else "hours of a CPU slot"
    how = "by the work of each" if by_work else "by the values of their axes"
    return (
        f"about {total / 3600:.2g} {unit} ({format_duration(total)} on one device), {how}, "
        f"from what {len(took)} completed task(s) of this sweep took"
    )
