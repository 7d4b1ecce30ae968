"""What the measurements of sweeps answer under a bound, as plain values: for `results` and for reports.

Whether a loss is within a bound, a speed-up is one, and which configuration is best, is decided in one place:
by `python -m worker answers`, which reads any worker's rows (docs/results-schema.md). Nothing is measured.
Another bound is another question; what of a row does not depend on the bound is ``speed``, ``speedup`` and
``loss``: for a slider, it is within x where ``loss.high <= x``, not within where ``loss.low > x``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scheduler.config.sweep import Sweep, Task
from scheduler.executors.worker_process import ask_about_results
from scheduler.storage.attempts_file import read_attempts
from scheduler.storage.json_files import read_object
from scheduler.storage.paths import SweepPaths

USUAL = "clip_score"  # the metric whose loss is bounded where none is named
_MOST_NAMED = 6  # configurations in one sentence
_ESTIMATES = ("speedup", "loss", "score", "seconds_per_image", "objective")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the ends of its 95 % interval, None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """What is known of one configuration; ``loss`` is a share of the baseline's value."""

    label: str
    # ``baseline``, ``control`` or ``candidate``
    role: str
    # ``measured``, or why not
    status: str
    speedup: Estimate | None = None
    loss: Estimate | None = None
    # Of the metric whose loss is bounded: this can be held against other tasks' scores.
    score: Estimate | None = None
    seconds_per_image: Estimate | None = None
    # Of the metric that is to be good: the speed-up, or another worker's own.
    objective: Estimate | None = None
    # ``faster``, ``slower`` or ``cannot tell``, by its interval and the null arm.
    speed: str | None = None
    # ``within``, ``not within`` or ``cannot tell yet``; None: no loss is known, or it is the baseline.
    bound: str | None = None
    # About how many more would decide the bound.
    more_images: int | None = None
    # ``yes``, ``no`` or ``cannot tell yet``; None: not asked (what is neither best nor on the frontier).
    beats_fewer_steps: str | None = None
    # Its speed-up is from disturbed rounds.
    beside_load: bool = False
    # Enough images were scored to hold its loss against a bound.
    decidable: bool = False

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> RowAnswer:
        """Return what JSON says; what has no number, or one beyond all that is counted with, is not known."""
        told = {key: content[key] for key in _ESTIMATES if key in content}
        found = {key: None if e["value"] is None else Estimate(**e) for key, e in told.items()}
        return cls(**{**content, **found})


@dataclass(frozen=True, slots=True)
class Halved:
    """An argument that was halved because memory ran out."""

    # What the sweep file says.
    sweep: Any
    # What the last attempt had.
    was: Any


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What the rows of one task come to."""

    sweep: str
    task: str
    matrix: Mapping[str, Any]
    rows: Sequence[RowAnswer]
    max_loss: float
    # The metric that is to be good, and which way: ``speedup`` and ``higher``; None: there is none.
    objective: str | None
    better: str | None
    # The best's label; "baseline" where nothing is told to be better; None: no loss is known.
    best: str | None
    # Whether it surely keeps the bound and is surely faster.
    within: bool
    # Labels of those that the best is surely faster than.
    beats: Sequence[str]
    # Labels of candidates that may keep the bound and be faster than the best, the fastest first.
    undecided: Sequence[str]
    frontier: Sequence[str]
    # As of the summary (docs/results-schema.md); None: it says nothing.
    null_arm: Mapping[str, Any] | None
    # How many batches were disturbed, and by what; None: none was.
    disturbed: str | None
    # Configurations under earlier settings, and lines that cannot be read.
    earlier: int
    unread: int
    # Arguments that were halved because memory ran out.
    halved: Mapping[str, Halved] = field(default_factory=dict)
    # Programs, by label, that make images as a configuration does: of the best, and of what is the best
    # under other bounds. Empty where they were not asked for, and of another worker's rows.
    snippets: Mapping[str, str] = field(default_factory=dict)

    def row(self, label: str | None) -> RowAnswer | None:
        """Return the row of that label."""
        return next((row for row in self.rows if row.label == label), None)

    @property
    def ranked(self) -> list[RowAnswer]:
        """Return the rows by the metric that is to be good, the best first, less the controls.

        For rows without any loss; without a candidate there is nothing to rank.
        """
        known = [row for row in self.rows if row.objective is not None and row.role != "control"]
        if not any(row.role == "candidate" for row in known):
            return []
        sign = -1 if self.better == "lower" else 1
        return sorted(known, key=lambda row: -sign * (row.objective.value if row.objective else 0))


@dataclass(frozen=True, slots=True)
class Answers:
    """What the tasks of one or more sweeps come to."""

    # Whose loss is bounded.
    metric: str
    tasks: Sequence[TaskAnswer]
    # What was found wrong with files, in sentences.
    notices: Sequence[str]
    # Of the JSON form, which docs/data/results.schema.json describes.
    version: int = 1


def answers_of(
    sweeps: Iterable[tuple[Sweep, SweepPaths, Sequence[Task]]],
    metric: str | None = None,
    max_loss: float | None = None,
    *,
    snippets: bool = False,
) -> Answers:
    """Return what the rows that exist come to.

    Args:
        sweeps: each with its paths and the tasks that are asked for.
        metric: whose loss is bounded; None: ``clip_score``.
        max_loss: a share; None: each task's own bound, as of its last summary.
        snippets: whether programs are wanted as well.

    Raises:
        WorkerCheckError: no row has that metric, or rows cannot be read here at all; a sentence.
    """
    asked = {
        f"{number}/{task.id}": (sweep, paths, task)
        for number, (sweep, paths, tasks) in enumerate(sweeps)
        for task in tasks
        if paths.results(task.id).is_file()
    }
    if not asked:
        return Answers(metric or USUAL, [], [])
    files = {key: str(paths.results(task.id).absolute()) for key, (_, paths, task) in asked.items()}
    question = {"results": files, "metric": metric, "max_loss": max_loss, "snippets": snippets}
    told = ask_about_results(question, os.environ)
    found = [_task(*asked[key], content) for key, content in told["tasks"].items()]
    return Answers(str(told["metric"]), found, [str(notice) for notice in told["notices"]])


def _task(sweep: Sweep, paths: SweepPaths, task: Task, content: Mapping[str, Any]) -> TaskAnswer:
    best = content["best"] or {}
    return TaskAnswer(
        sweep.name,
        task.id,
        sweep.matrix(task),
        [RowAnswer.of(row) for row in content["rows"]],
        content["max_loss"],
        content["objective"],
        content["better"],
        best.get("best"),
        best.get("within") is True,
        content["beats"],
        content["undecided"],
        content["frontier"],
        content["null_arm"],
        content["disturbed"],
        content["earlier"],
        content["unread"],
        halved_of(sweep.args, _last_overrides(paths, task.id)),
        content.get("snippets", {}),
    )


def _last_overrides(paths: SweepPaths, task: str) -> Mapping[str, Any]:
    running = read_attempts(paths.attempts(task))
    if running:
        return running[-1].started.overrides
    return overrides_of(read_object(paths.done(task)) or {})


def overrides_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the last attempt of a checkpoint had instead of the sweep's arguments."""
    attempts = checkpoint.get("attempts")
    last = attempts[-1] if isinstance(attempts, list) and attempts else None
    overrides = last.get("overrides") if isinstance(last, dict) else None
    return overrides if isinstance(overrides, dict) else {}


def halved_of(args: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Halved]:
    """Return the arguments that were halved."""
    return {name: Halved(args.get(name), value) for name, value in overrides.items()}


def halved_in_words(halved: Mapping[str, Halved]) -> Iterator[str]:
    """Yield a clause for each argument that was halved."""
    for name, one in halved.items():
        yield f"{name} {one.was} instead of {one.sweep}: memory ran out"


def without_loss_in_words(task: TaskAnswer, metric: str) -> Iterator[str]:
    """Yield clauses on a task of which no loss is known: the best by the metric that is to be good."""
    ranked = task.ranked
    if not ranked:
        some = any(row.role == "candidate" and row.status == "measured" for row in task.rows)
        yield "no metric says which way is better" if some else "no candidate is measured yet"
        return
    yield f"no loss of {metric} is known, so nothing is said of a bound"
    first, others = ranked[0], ranked[1:]
    value = interval_in_words(first.objective, "{:.4g}")
    yield f"best by {task.objective} ({task.better} is better): {first.label}, {value}"
    close = [row.label for row in others if not _apart(first, row, task.better)]
    if close:
        yield f"cannot be told from {some_of(close)}"


def _apart(first: RowAnswer, other: RowAnswer, better: str | None) -> bool:
    """Whether two intervals lie apart; of values without an interval nothing is known."""
    mine, theirs = first.objective, other.objective
    if mine is None or theirs is None or None in (mine.low, mine.high, theirs.low, theirs.high):
        return False
    assert mine.low is not None
    assert mine.high is not None
    assert theirs.low is not None
    assert theirs.high is not None
    return mine.high < theirs.low if better == "lower" else mine.low > theirs.high


def interval_in_words(found: Estimate | None, form: str, unit: str = "") -> str:
    """Return a value with its interval."""
    if found is None:
        return "not known"
    value = form.format(found.value) + unit
    if found.low is None or found.high is None:
        return f"{value} [no interval]"
    return f"{value} [{form.format(found.low)}, {form.format(found.high)}]"


def some_of(labels: Sequence[str]) -> str:
    """Return the first of some labels, and how many more there are."""
    more = len(labels) - _MOST_NAMED
    return ", ".join(labels[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
