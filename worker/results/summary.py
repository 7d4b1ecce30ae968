"""What a task's rows say together: the bound, the frontier, and whether fewer steps do as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from worker.results import statistics
from worker.results.row import MEASURED, NON_FINITE, OUT_OF_MEMORY, Measurement, Row

M = TypeVar("M", bound=Measurement)

Spread = dict[str, dict[str, list[float]]]
"""For each configuration ``{"speedup": [least, most], "quality_loss": [least, most]}``."""


@dataclass(frozen=True)
class Bound:
    """Whether a configuration's loss of quality is within the allowed one."""

    answer: statistics.Answer
    images: int | None = None
    """About how many images would decide an open answer; None where no number would."""

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in a results file."""
        hint = {"images": self.images} if self.answer == "cannot tell yet" else {}
        return {"answer": self.answer, **hint}


@dataclass(frozen=True)
class Best:
    """The fastest that keeps the bound: a candidate, or else the baseline.

    Where no candidate surely does, it is the fastest that may.
    """

    label: str
    speedup: float
    loss: float
    """Relative loss of CLIP score."""
    within: bool
    """Whether it surely keeps the bound and surely is not slower than the baseline."""
    more_images: int | None = None
    """About how many more images would decide whether it keeps the bound; None: not known, or it is
    decided."""

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in a results file."""
        hint = {"more_images": self.more_images} if self.more_images is not None else {}
        plain = {"best": self.label, "speedup": self.speedup, "loss": self.loss}
        return plain | {"within": self.within} | hint | {"conclusion": self.in_words()}

    def in_words(self) -> str:
        """Return it as a clause, which the scheduler shows beside speed-up and loss."""
        if self.within:
            return f"best is {self.label}"
        open_ = "" if self.more_images is None else f", about {self.more_images} more images decide"
        return f"none surely; {self.label} {self.speedup:.2f}× may{open_}"


@dataclass(frozen=True)
class Summary:
    """The last line of a finished task; its keys stand at the top of the checkpoint."""

    images_generated: int
    configurations: int
    out_of_memory: Sequence[str]
    """Labels of what did not fit."""
    non_finite: Sequence[str]
    """Labels of what overflowed."""
    max_loss: float
    frontier: Sequence[str]
    """Labels, the slowest first."""
    bound: Mapping[str, Bound] = field(default_factory=dict)
    """Of each candidate by its label; empty where no quality was measured."""
    beats_fewer_steps: Mapping[str, statistics.Comparison] = field(default_factory=dict)
    """Of each candidate by its label; empty where no quality was measured."""
    best: Best | None = None
    confirmation: Summary | None = None
    """None where nothing was measured again on other prompts."""
    stability: Spread | None = None
    """None where no study of it was asked for."""
    overhead: float | None = None
    """Share of the evaluation's time that was not spent in the pipeline; None if none was."""

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in a results file; what was not asked for is left out."""
        plain: dict[str, Any] = {
            "images_generated": self.images_generated,
            "configurations": self.configurations,
            "out_of_memory": list(self.out_of_memory),
            "not_numbers": list(self.non_finite),
            "max_loss": self.max_loss,
            "frontier": list(self.frontier),
        }
        if self.bound:
            plain["bound"] = {label: bound.as_json() for label, bound in self.bound.items()}
            plain["beats_fewer_steps"] = dict(self.beats_fewer_steps)
        if self.best is not None:
            plain |= self.best.as_json()
        if self.confirmation is not None:
            plain["confirmation"] = self.confirmation.as_json()
        if self.stability is not None:
            plain["stability"] = self.stability
        if self.overhead is not None:
            plain["overhead"] = self.overhead
        return plain


def summarise(rows: Sequence[Measurement], max_loss: float) -> Summary:
    """Return the summary of a finished task.

    Args:
        rows: one row for each configuration of the plan.
        max_loss: the relative loss of quality that is allowed.
    """
    measured = [row for row in rows if row.status == MEASURED]
    candidates = [row for row in measured if row.role == "candidate"]
    judged = candidates if any(row.estimate_of("quality_loss") for row in candidates) else []
    return Summary(
        images_generated=sum(int(row.value_of("images") or 0) for row in measured),
        configurations=len(rows),
        out_of_memory=[row.label for row in rows if row.status == OUT_OF_MEMORY],
        non_finite=[row.label for row in rows if row.status == NON_FINITE],
        max_loss=max_loss,
        frontier=[row.label for row in frontier(measured)],
        bound={row.label: bound(row, max_loss) for row in judged},
        beats_fewer_steps={row.label: beats_fewer_steps(row, measured) for row in judged},
        best=_best(measured, max_loss),
    )


def bound(row: Measurement, max_loss: float) -> Bound:
    """Return the answer to the bound, and how many images would probably decide an open one."""
    loss = row.estimate_of("quality_loss")
    if loss is None:
        return Bound("cannot tell yet")
    images = int(row.value_of("images_scored") or 0)
    enough = statistics.images_to_decide(loss, max_loss, images)
    if images < statistics.FEWEST_IMAGES:
        return Bound("cannot tell yet", max(statistics.FEWEST_IMAGES, enough or 0))
    answer = statistics.answer(loss, max_loss)
    return Bound(answer, enough if answer == "cannot tell yet" else None)


def frontier(rows: Sequence[M]) -> list[M]:
    """Return the rows that no other beats in both speed-up and quality, the slowest first.

    A gain of quality or of speed counts only where its whole interval is one. Else it is a tie with
    the baseline, or chance would let configurations stand that are slower than it; and a tie is the
    baseline's.

    The null arm is left out: it is the baseline with other latents, not a way to be faster. Where
    no quality was measured there is no frontier.
    """
    points = [(row, point) for row in rows if (point := _point(row)) is not None]
    if len(points) < 2:
        return []
    kept = [
        (row, point)
        for row, point in points
        if not any(other.beats(point) for _, other in points)
        and (row.role == "baseline" or not point.gains_nothing)
    ]
    return [row for row, _ in sorted(kept, key=lambda item: item[1].speedup)]


@dataclass(frozen=True)
class _Point:
    """Where a configuration lies in the plane of speed-up and loss."""

    speedup: float
    loss: float

    @property
    def gains_nothing(self) -> bool:
        """Whether it is neither faster nor better than the baseline."""
        return self.speedup <= 1 and self.loss >= 0

    def beats(self, other: _Point) -> bool:
        """Whether this is at least as good in both and better in one (it dominates the other)."""
        no_worse = self.speedup >= other.speedup and self.loss <= other.loss
        return no_worse and (self.speedup > other.speedup or self.loss < other.loss)


def _point(row: Measurement) -> _Point | None:
    """Return where a row lies, or None for the null arm and where speed-up or loss is not known."""
    speedup = 1.0 if row.role == "baseline" else _proven_speedup(row)
    loss = _proven_loss(row)
    if row.is_null_arm or speedup is None or loss is None:
        return None
    return _Point(speedup, loss)


def beats_fewer_steps(row: Measurement, rows: Sequence[Measurement]) -> statistics.Comparison:
    """Say whether a configuration is faster than fewer steps are at the same loss."""
    candidate = _arm(row)
    controls = [_arm(other) for other in rows if other.has_other_steps]
    known = [arm for arm in controls if arm is not None]
    if candidate is None or not known:
        return "cannot tell yet"
    return statistics.beats(candidate, known)


def _arm(row: Measurement) -> statistics.Arm | None:
    """Return a row's single figures, or None where they are too few to decide anything by."""
    figures = row.samples
    enough = len(figures.clip_score) >= statistics.FEWEST_IMAGES
    if not enough or len(figures.seconds) < statistics.FEWEST_PAIRS:
        return None
    return statistics.Arm(
        _floats(figures.baseline_seconds),
        _floats(figures.seconds),
        _floats(figures.baseline_clip_score),
        _floats(figures.clip_score),
    )


def _floats(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _best(measured: Sequence[Measurement], max_loss: float) -> Best | None:
    """Return the fastest candidate that surely keeps the bound, else the fastest that may.

    The baseline takes part: it loses nothing, so what is not faster than it is never the best.
    Where no quality was measured nothing is best: the fastest way to a picture is to make none.
    """
    known = [
        (row, gain, loss)
        for row in measured
        if row.role == "candidate"
        and (gain := row.estimate_of("speedup")) is not None
        and (loss := row.estimate_of("quality_loss")) is not None
    ]
    if not known:
        return None
    answers = {row.label: bound(row, max_loss) for row, _, _ in known}
    sure = [
        Best(row.label, gain.value, loss.value, within=True)
        for row, gain, loss in known
        if answers[row.label].answer == "within" and gain.low is not None and gain.low > 1
    ]
    perhaps = [
        Best(row.label, gain.value, loss.value, False, _more_images(row, answers[row.label]))
        for row, gain, loss in known
        if _may_keep(loss, max_loss) and (_proven_speedup(row) or 0.0) > 1
    ]
    baseline = Best("baseline", 1.0, 0.0, within=True)
    return max(sure or perhaps, key=lambda best: best.speedup, default=baseline)


def _may_keep(loss: statistics.Estimate, max_loss: float) -> bool:
    return (loss.value if loss.low is None else loss.low) <= max_loss


def _more_images(row: Measurement, answered: Bound) -> int | None:
    if answered.images is None:
        return None
    return max(1, answered.images - int(row.value_of("images_scored") or 0))


def _loss(row: Measurement) -> float | None:
    scored = row.value_of("clip_score") is not None
    return 0.0 if row.role == "baseline" and scored else row.value_of("quality_loss")


def _proven_loss(row: Measurement) -> float | None:
    """Return the loss, or 0 where it is a gain that may be chance."""
    loss, estimate = _loss(row), row.estimate_of("quality_loss")
    if loss is None or estimate is None or loss >= 0:
        return loss
    enough = (row.value_of("images_scored") or 0) >= statistics.FEWEST_IMAGES
    surely = enough and estimate.high is not None and estimate.high < 0
    return loss if surely else 0.0


def _proven_speedup(row: Measurement) -> float | None:
    """Return the speed-up, or 1 where the interval leaves open whether it is faster or slower."""
    gain = row.estimate_of("speedup")
    if gain is None or gain.low is None or gain.high is None:
        return None if gain is None else gain.value
    return 1.0 if gain.low <= 1 <= gain.high else gain.value


def in_words(summary: Summary) -> list[str]:
    """Return the summary as lines for the log."""
    lines = []
    if summary.frontier:
        lines.append(f"frontier: {', '.join(summary.frontier)}")
    for label, answered in summary.bound.items():
        hint = f" (about {answered.images} images might decide)" if answered.images else ""
        lines.append(
            f"{label}: loss within {100 * summary.max_loss:g}%: {answered.answer}{hint}; "
            f"better than fewer steps: {summary.beats_fewer_steps[label]}"
        )
    if summary.best is not None:
        lines.append(f"within a loss of {100 * summary.max_loss:g}%: {summary.best.in_words()}")
    return lines


def spread(studies: Mapping[str, Sequence[Row]]) -> Spread:
    """Return how far each configuration's figures lie apart between studies.

    Args:
        studies: the rows of each study, in the same order of configurations.
    """
    apart: Spread = {}
    for same in zip(*studies.values(), strict=True):
        label = same[0].label.removesuffix(f" ({same[0].study})")
        for name in ("speedup", "quality_loss"):
            values = [value for row in same if (value := row.value_of(name)) is not None]
            if values:
                apart.setdefault(label, {})[name] = [min(values), max(values)]
    return apart
