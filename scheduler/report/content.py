"""What a report shows, as plain values: the measurements of sweeps, and how their runs went."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scheduler.report.boxes import Asked, device_in
from scheduler.report.history import (
    MOST_GAPS,
    Gap,
    Ran,
    course_in_words,
    disturbances_in_words,
    failures_of,
    read_history,
)
from scheduler.report.judging.cases import Case, Judged, case_of
from scheduler.report.searches.decisions import Searched, searched_of
from scheduler.storage.json_files import as_number, read_results
from scheduler.storage.paths import SweepPaths
from scheduler.views.answers import (
    USUAL,
    Answers,
    Estimate,
    RowAnswer,
    TaskAnswer,
    halved_in_words,
    without_loss_in_words,
)
from scheduler.views.from_files import progress_from_files

# What of an answer the row's metrics have as well.
_AMONG_METRICS = ("objective", "score", "seconds_per_image")
_SETTINGS = ("settings", "reproduce")


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
    # The longest; how many there are beside them.
    gaps: Sequence[Gap]
    more_gaps: int
    failures: Sequence[Mapping[str, str]]
    notices: Sequence[str]
    # Where cases were judged.
    judged: Judged | None
    # Of each sweep, in words.
    course: Sequence[str] = field(default_factory=list)
    # Of tasks whose worker tells how it decided what to measure.
    searches: Sequence[Searched] = field(default_factory=list)

    @property
    def environments(self) -> Sequence[tuple[Mapping[str, Any], Sequence[str]]]:
        """Return each environment that tasks were measured in, with those tasks."""
        found: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
        for task in self.tasks:
            key = json.dumps(task["environment"], sort_keys=True)
            found.setdefault(key, (task["environment"], []))[1].append(
                f"{task['sweep']}/{task['task']}"
            )
        return list(found.values())

    @property
    def loss_name(self) -> str:
        """What the loss that is bounded is called among a row's metrics."""
        return "quality_loss" if self.metric == USUAL else f"loss of {self.metric}"


def content_of(asked: Sequence[Asked], answers: Answers) -> Content:
    """Put together what is shown.

    Args:
        asked: the sweeps, as the answers were asked for.
        answers: under each task's own bound.
    """
    paths = {(sweep.name, task.id): places for sweep, places, tasks in asked for task in tasks}
    rows, tasks = [], []
    cases: list[Case] = []
    searches: list[Searched] = []
    for task in answers.tasks:
        name = f"{task.sweep}/{task.task}"
        written, others = _written(paths[task.sweep, task.task], task.task)
        rows += [_row(task, row, written.get(row.label, {})) for row in task.rows]
        cases += filter(None, (case_of(name, *one) for one in written.items()))
        searches += filter(None, [searched_of(name, others)])
        tasks.append(_task(task, written, answers.metric))
    progresses = {sweep.name: progress_from_files(sweep, places) for sweep, places, _ in asked}
    histories = [read_history(sweep.name, places) for sweep, places, _ in asked]
    gaps = sorted((gap for _, own in histories for gap in own), key=lambda gap: -gap.seconds)
    return Content(
        [sweep.name for sweep, _, _ in asked],
        answers.metric,
        max((task.max_loss for task in answers.tasks), default=0.05),
        rows,
        tasks,
        [one for ran, _ in histories for one in ran],
        gaps[:MOST_GAPS],
        max(0, len(gaps) - MOST_GAPS),
        [
            one
            for sweep, _, tasks in asked
            for one in failures_of(sweep.name, progresses[sweep.name], tasks)
        ],
        answers.notices,
        Judged.of(cases) if cases else None,
        [course_in_words(name, progress) for name, progress in progresses.items()],
        searches,
    )


def _written(
    paths: SweepPaths, task: str
) -> tuple[dict[str, Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the newest row of each label, as the worker wrote it, and the lines that are no rows."""
    rows: dict[str, Mapping[str, Any]] = {}
    others: list[Mapping[str, Any]] = []
    for line in read_results(paths.results(task)):
        if "metrics" not in line:
            others.append(line)
        elif "study" not in line:
            rows[str(line.get("label", task))] = line
    return rows, others


def _row(task: TaskAnswer, row: RowAnswer, written: Mapping[str, Any]) -> dict[str, Any]:
    accelerators = _object(_object(written.get("configuration")).get("accelerators"))
    return {
        "sweep": task.sweep,
        "task": task.task,
        **{key: value for key, value in asdict(row).items() if key not in _AMONG_METRICS},
        "best": row.label == task.best,
        "frontier": row.label in task.frontier,
        "fewer_steps": row.role == "control" and "steps" in _object(written.get("configuration")),
        "metrics": dict(_metrics(written)),
        "accelerators": sorted(map(str, accelerators)),
        "parameters": dict(_parameters(accelerators)),
        "snippet": task.snippets.get(row.label, ""),
        "command": _text(_object(written.get("reproduce")).get("command")),
        "device": device_in(written),
        "disturbed": disturbances_in_words(written.get("disturbed")),
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


def _task(
    task: TaskAnswer, written: Mapping[str, Mapping[str, Any]], metric: str
) -> dict[str, Any]:
    newest = list(written.values())[-1] if written else {}
    return {
        "sweep": task.sweep,
        "task": task.task,
        "null_arm": task.null_arm,
        "objective": task.objective,
        "judged": any("verdict" in row for row in written.values()),
        "without_loss": "; ".join(without_loss_in_words(task, metric)),
        "disturbed": task.disturbed or "",
        "halved": "; ".join(halved_in_words(task.halved)),
        "environment": _object(newest.get("environment")),
        "details": {key: newest[key] for key in _SETTINGS if key in newest},
    }


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return "" if value is None else str(value)
