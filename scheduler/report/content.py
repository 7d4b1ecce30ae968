"""What a report shows, as plain values: the measurements of sweeps, and how their runs went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scheduler.config.sweep import Sweep, Task
from scheduler.core.journal_events import AttemptEnded, AttemptFailed, AttemptStarted
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import FAILED
from scheduler.storage.journal import JournalReader
from scheduler.storage.json_files import as_number, read_objects
from scheduler.storage.paths import SweepPaths
from scheduler.views.answers import USUAL, Answers, Estimate, RowAnswer, TaskAnswer, halved_in_words
from scheduler.views.from_files import progress_from_files

Asked = tuple[Sweep, SweepPaths, Sequence[Task]]
# What of an answer the row's metrics have as well.
_AMONG_METRICS = ("objective", "score", "seconds_per_image")
_SETTINGS = ("settings", "environment", "reproduce")


@dataclass
class Ran:
    """One attempt on a device, of which it may have had others as well.

    Times of day in seconds, None where the journal does not tell the end.
    """

    sweep: str
    task: str
    attempt: int
    device: str
    started: float
    ended: float | None = None
    cause: str = ""


@dataclass(frozen=True)
class Content:
    """What is shown."""

    sweeps: Sequence[str]
    # Whose loss is bounded.
    metric: str
    max_loss: float
    # One for each configuration of each task; keys as in `_row`.
    rows: Sequence[dict[str, Any]]
    tasks: Sequence[Mapping[str, Any]]
    ran: Sequence[Ran]
    failures: Sequence[Mapping[str, str]]
    notices: Sequence[str]
    # Of each sweep, in words.
    course: Sequence[str] = field(default_factory=list)

    @property
    def loss_name(self) -> str:
        """What the loss that is bounded is called among a row's metrics."""
        return "quality_loss" if self.metric == USUAL else f"loss of {self.metric}"


def content_of(asked: Sequence[Asked], answers: Answers, at_any_loss: Answers) -> Content:
    """Put together what is shown.

    Args:
        asked: the sweeps, as the answers were asked for.
        answers: under each task's own bound, or the one that was named.
        at_any_loss: the same under a bound of 100 %. What is not within that is not decided under any
            bound, since too few images were scored.
    """
    paths = {(sweep.name, task.id): places for sweep, places, tasks in asked for task in tasks}
    rows, tasks = [], []
    for task, unbounded in zip(answers.tasks, at_any_loss.tasks, strict=True):
        written = _written(paths[task.sweep, task.task], task.task)
        decided = {row.label for row in unbounded.rows if row.bound == "within"}
        rows += [_row(task, row, written.get(row.label, {}), decided) for row in task.rows]
        tasks.append(_task(task, written))
    progresses = {sweep.name: progress_from_files(sweep, places) for sweep, places, _ in asked}
    return Content(
        [sweep.name for sweep, _, _ in asked],
        answers.metric,
        max((task.max_loss for task in answers.tasks), default=0.05),
        rows,
        tasks,
        [one for sweep, places, _ in asked for one in _ran(sweep.name, places)],
        [
            one
            for sweep, _, tasks in asked
            for one in _failures(progresses[sweep.name], sweep, tasks)
        ],
        answers.notices,
        [_course(name, progress) for name, progress in progresses.items()],
    )


def _written(paths: SweepPaths, task: str) -> dict[str, Mapping[str, Any]]:
    """Return the newest row of each label, as the worker wrote it."""
    return {
        str(row.get("label", task)): row
        for row in read_objects(paths.results(task))
        if "metrics" in row and "study" not in row
    }


def _row(
    task: TaskAnswer, row: RowAnswer, written: Mapping[str, Any], decided: set[str]
) -> dict[str, Any]:
    accelerators = _object(_object(written.get("configuration")).get("accelerators"))
    return {
        "sweep": task.sweep,
        "task": task.task,
        **{key: value for key, value in asdict(row).items() if key not in _AMONG_METRICS},
        "best": row.label == task.best,
        "frontier": row.label in task.frontier,
        "decided": row.label in decided,
        "fewer_steps": row.role == "control" and "steps" in _object(written.get("configuration")),
        "metrics": dict(_metrics(written)),
        "accelerators": sorted(map(str, accelerators)),
        "parameters": dict(_parameters(accelerators)),
        "snippet": task.snippets.get(row.label, ""),
        "command": _text(_object(written.get("reproduce")).get("command")),
        "disturbed": _text(written.get("disturbed")),
    }


def _metrics(written: Mapping[str, Any]) -> Iterator[tuple[str, Estimate]]:
    metrics = written.get("metrics")
    for metric in metrics if isinstance(metrics, list) else ():
        if isinstance(metric, dict) and (value := as_number(metric.get("value"))) is not None:
            low, high = as_number(metric.get("low")), as_number(metric.get("high"))
            yield str(metric.get("name")), Estimate(value, low, high)


def _parameters(accelerators: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, parameters in accelerators.items():
        for key, value in _object(parameters).items():
            if (number := as_number(value)) is not None:
                yield f"{name}.{key}", number


def _task(task: TaskAnswer, written: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    newest = list(written.values())[-1] if written else {}
    return {
        "sweep": task.sweep,
        "task": task.task,
        "null_arm": task.null_arm,
        "disturbed": task.disturbed or "",
        "halved": "; ".join(halved_in_words(task.halved)),
        "details": {key: newest[key] for key in _SETTINGS if key in newest},
    }


def _ran(sweep: str, paths: SweepPaths) -> list[Ran]:
    found: dict[tuple[str, int, str], Ran] = {}
    for entry in JournalReader(paths.journal):
        event = entry.event
        if isinstance(event, AttemptStarted):
            for device in event.devices:
                key = (event.task, event.attempt, device)
                found[key] = Ran(sweep, event.task, event.attempt, device, event.started)
        elif isinstance(event, AttemptEnded | AttemptFailed):
            keys = ((event.task, event.attempt, device) for device in event.devices)
            for one in (found[key] for key in keys if key in found):
                if isinstance(event, AttemptEnded):
                    one.ended = event.ended
                else:
                    one.cause = event.cause
    return list(found.values())


def _failures(
    progress: SweepProgress, sweep: Sweep, tasks: Sequence[Task]
) -> Iterator[dict[str, str]]:
    for task in tasks:
        view = progress.tasks[task.id]
        if view.cause and view.state != "completed":
            state = "failed" if view.state == FAILED else "waits to be tried again"
            yield {"sweep": sweep.name, "task": task.id, "state": state, "cause": view.cause}


def _course(name: str, progress: SweepProgress) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in progress.counts.items() if count)
    return (
        f"{name}: {counts or 'no tasks'}; devices stood idle for {progress.idle_seconds:.0f} s while tasks "
        f"waited, attempts that failed took {progress.lost_seconds:.0f} s"
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return "" if value is None else str(value)
