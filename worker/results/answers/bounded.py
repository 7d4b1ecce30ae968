"""What the rows of a task answer under a bound on the loss; nothing is measured for it.

Of another worker's rows, where they have no ``speedup``, the first metric that has a better direction
stands in, as a ratio to the baseline's. Any metric that the baseline has may be bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.results import disturbances
from worker.results.answers.reading import Rows
from worker.results.answers.snippet import chosen_under_some_bound, snippet
from worker.results.frontier import Best, best, bound, frontier
from worker.results.null_arm import NullArm
from worker.results.row import MEASURED, Measurement, Metric, Row, metric
from worker.results.statistics import FEWEST_IMAGES, Estimate
from worker.results.summary import beats_fewer_steps

USUAL = "clip_score"
"""The metric that is bounded where none is named."""
USUAL_BOUND = 0.05
# of an image beside itself; other figures of likeness (PSNR, LPIPS) have no share that can be lost
_OF_ITSELF = {"ssim": 1.0}


@dataclass(frozen=True)
class Answers:
    """What a task's rows come to."""

    rows: Rows
    seen: Sequence[Measurement]
    """The rows that were measured, with gain and loss of the metrics asked for."""
    bounded: str
    """The metric whose loss is bounded."""
    max_loss: float
    objective: Metric | None
    """The metric that is to be good: ``speedup``, or another worker's; None where none has a direction."""
    best: Best | None
    null_arm: NullArm

    @classmethod
    def of(cls, rows: Rows, bounded: str, max_loss: float | None) -> Answers:
        """Hold rows against a bound.

        Args:
            rows: of one task.
            bounded: the metric whose loss is bounded.
            max_loss: a share of the baseline's value; None: as when it was measured, or 5 %.
        """
        limit = max_loss if max_loss is not None else rows.max_loss
        limit = USUAL_BOUND if limit is None else limit
        measured = [row for row in rows.counting if row.status == MEASURED]
        objective = _objective(measured, bounded)
        base = next((row for row in measured if row.role == "baseline"), None)
        seen = [_compared(row, base, bounded, objective) for row in measured]
        null = NullArm.of(seen)
        return cls(rows, seen, bounded, limit, objective, best(seen, limit, null), null)

    @property
    def has_loss(self) -> bool:
        """Whether a loss is known of any row."""
        return any(row.estimate_of("quality_loss") for row in self.seen if row.role != "baseline")

    def snippets(self) -> dict[str, str]:
        """Return programs by label: of the best, and of what is the best under other bounds."""
        best = None if self.best is None else self.best.label
        chosen = chosen_under_some_bound(self.seen, best)
        programs = {row.label: snippet(row) for row in chosen if isinstance(row, Row)}
        return {label: program for label, program in programs.items() if program is not None}

    def as_json(self) -> dict[str, Any]:
        """Return it as docs/reading-results.md describes it."""
        on_frontier = [row.label for row in frontier(self.seen)]
        named = {*on_frontier, *([] if self.best is None else [self.best.label])}
        return {
            "max_loss": self.max_loss,
            "objective": None if self.objective is None else self.objective.name,
            "better": None if self.objective is None else self.objective.better,
            "batch_size": self.rows.batch_size,
            "best": None if self.best is None else self.best.as_json(),
            "beats": self._beaten(),
            "undecided": self._undecided(),
            "frontier": on_frontier,
            "null_arm": None if self.null_arm.speedup is None else self.null_arm.as_json(),
            "disturbed": disturbances.in_words(self.seen),
            "earlier": self.rows.earlier,
            "unread": self.rows.unread,
            "rows": [self._row_as_json(row, row.label in named) for row in self.seen]
            + [
                {"label": row.label, "role": row.role, "status": row.status}
                for row in self.rows.counting
                if row.status != MEASURED
            ],
        }

    def _beaten(self) -> list[str]:
        """Return the others that the best is surely faster than: their intervals lie apart."""
        mine = None if self.best is None else self._gain_of(self.best.label)
        if mine is None or mine.low is None:
            return []
        found = ((row, row.estimate_of("speedup")) for row in self.seen if not row.is_null_arm)
        return [
            row.label
            for row, gain in found
            if gain is not None and gain.high is not None and gain.high < mine.low
        ]

    def _undecided(self) -> list[str]:
        """Return the candidates that may keep the bound and be faster than the best, the fastest first."""
        sure = self.best.speedup if self.best is not None and self.best.within else 1.0
        return [
            row.label
            for row in sorted(self.seen, key=lambda row: -(row.value_of("speedup") or 0))
            if row.role == "candidate"
            and (row.value_of("speedup") or 0) > sure
            and self._is_open(row)
        ]

    def _is_open(self, row: Measurement) -> bool:
        if row.estimate_of("quality_loss") is None:
            return False
        answer = bound(row, self.max_loss).answer
        unsure_of_speed = self.null_arm.speed(row) == "cannot tell"
        return answer == "cannot tell yet" or (answer == "within" and unsure_of_speed)

    def _gain_of(self, label: str) -> Estimate | None:
        return next((row.estimate_of("speedup") for row in self.seen if row.label == label), None)

    def _row_as_json(self, row: Measurement, named: bool) -> dict[str, Any]:
        plain: dict[str, Any] = {"label": row.label, "role": row.role, "status": row.status}
        for key, name in (
            ("speedup", "speedup"),
            ("loss", "quality_loss"),
            ("score", self.bounded),
            ("seconds_per_image", "seconds_per_image"),
            ("objective", "" if self.objective is None else self.objective.name),
        ):
            found = row.estimate_of(name)
            if found is not None:
                plain[key] = {"value": found.value, "low": found.low, "high": found.high}
        if row.role == "baseline":
            return plain
        plain["speed"] = self.null_arm.speed(row)
        if "loss" in plain:
            answered = bound(row, self.max_loss)
            plain["bound"] = answered.answer
            scored = int(row.value_of("images_scored") or 0)
            if answered.images is not None and scored:
                plain["more_images"] = max(1, answered.images - scored)
            # What does not keep a bound of 100 % either has too few images for any.
            plain["decidable"] = bound(row, 1.0).answer == "within"
            if named and self.bounded == USUAL and row.role == "candidate":
                known = self.rows.beats_fewer_steps(row.label)
                plain["beats_fewer_steps"] = known or beats_fewer_steps(row, self.seen)
        if disturbances.is_beside_load(row):
            plain["beside_load"] = True
        return plain


def _objective(rows: Sequence[Measurement], bounded: str) -> Metric | None:
    """Return the metric that is to be good, as it stands in the first row that has it."""
    metrics = [item for row in rows for item in row.metrics if item.value is not None]
    own = next((item for item in metrics if item.name == "speedup"), None)
    others = (item for item in metrics if item.name not in (bounded, "quality_loss"))
    return own or next((item for item in others if item.better is not None), None)


def _compared(
    row: Measurement, base: Measurement | None, bounded: str, objective: Metric | None
) -> Measurement:
    """Return a row with the speed-up and the loss that are asked for."""
    metrics = list(row.metrics)
    if objective is not None and objective.name != "speedup" and base is not None:
        gain = _ratio(row.metric(objective.name), base.metric(objective.name))
        metrics += [] if gain is None or row is base else [_named("speedup", gain)]
    if bounded != USUAL or row.metric("quality_loss") is None:
        metrics = [item for item in metrics if item.name not in ("quality_loss", "images_scored")]
        loss = Estimate(0.0, 0.0, 0.0) if row is base else _loss_in(bounded, row, base)
        if loss is not None and (row is not base or row.metric(bounded) or bounded in _OF_ITSELF):
            metrics.append(_named("quality_loss", loss))
            # an interval that the worker itself gives is believed, of however many it is
            given = row.value_of("images_scored") if bounded in (USUAL, *_OF_ITSELF) else None
            count = int(given) if given is not None else FEWEST_IMAGES
            metrics.append(metric("images_scored", count, "", None))
    changed = len(metrics) != len(row.metrics) or metrics != row.metrics
    return row.model_copy(update={"metrics": metrics}) if changed else row


def _named(name: str, found: Estimate) -> Metric:
    return metric(name, found.value, "", None, low=found.low, high=found.high)


def _ratio(mine: Metric | None, theirs: Metric | None) -> Estimate | None:
    """Return how many times as good a figure is as the baseline's, by the ends of both intervals."""
    if mine is None or theirs is None or mine.value is None or theirs.value is None:
        return None
    first, second = (theirs, mine) if mine.better == "lower" else (mine, theirs)
    ends = (first.value, first.low, first.high, second.value, second.low, second.high)
    if any(end is not None and end <= 0 for end in ends):
        return None
    assert first.value is not None
    assert second.value is not None
    known = None not in ends
    return Estimate(
        first.value / second.value,
        first.low / second.high if known and first.low and second.high else None,
        first.high / second.low if known and first.high and second.low else None,
    )


def _loss_in(name: str, row: Measurement, base: Measurement | None) -> Estimate | None:
    """Return which share of the baseline's value is lost, by the row's and the baseline's interval."""
    mine = row.metric(name)
    theirs = None if base is None else base.estimate_of(name)
    if theirs is None and name in _OF_ITSELF:
        theirs = Estimate(_OF_ITSELF[name], _OF_ITSELF[name], _OF_ITSELF[name])
    if mine is None or mine.value is None or theirs is None or not theirs.value:
        return None
    sign, size = (-1 if mine.better == "lower" else 1), abs(theirs.value)
    value = sign * (theirs.value - mine.value) / size
    if mine.low is None or mine.high is None:
        return Estimate(value)
    half_of_base = 0.0
    if theirs.low is not None and theirs.high is not None:
        half_of_base = (theirs.high - theirs.low) / 2
    half = ((mine.high - mine.low) / 2 + half_of_base) / size
    return Estimate(value, value - half, value + half)
