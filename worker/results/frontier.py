"""The configurations that no other beats in both speed-up and quality, and the best within a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from worker.results import statistics
from worker.results.null_arm import NullArm
from worker.results.row import Measurement

M = TypeVar("M", bound=Measurement)


def frontier(rows: Sequence[M]) -> list[M]:
    """Return the rows that no other beats in both speed-up and quality, the slowest first.

    A gain of quality or of speed counts only where its whole interval is one, and where it is more
    than what the null arm came out at. Else it is a tie with the baseline, or chance would let
    configurations stand that are slower than it; and a tie is the baseline's.

    The null arm is left out: it is the baseline with other latents, not a way to be faster. Where
    no quality was measured there is no frontier.
    """
    null = NullArm.of(rows)
    points = [(row, point) for row in rows if (point := _point(row, null)) is not None]
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


def _point(row: Measurement, null: NullArm) -> _Point | None:
    """Return where a row lies, or None for the null arm and where speed-up or loss is not known."""
    speedup = 1.0 if row.role == "baseline" else _proven_speedup(row, null)
    loss = _proven_loss(row, null)
    if row.is_null_arm or speedup is None or loss is None:
        return None
    return _Point(speedup, loss)


def _proven_speedup(row: Measurement, null: NullArm) -> float | None:
    """Return the speed-up, or 1 where it is open whether the row is faster or slower.

    Of too few rounds for an interval the bare value is all there is.
    """
    gain = row.estimate_of("speedup")
    if gain is None or gain.low is None or gain.high is None:
        return None if gain is None else gain.value
    return 1.0 if null.speed(row) == "cannot tell" else gain.value


def _proven_loss(row: Measurement, null: NullArm) -> float | None:
    """Return the loss, or 0 where it is a gain that may be chance."""
    if row.role == "baseline":
        known = row.value_of("clip_score") is not None or row.value_of("quality_loss") is not None
        return 0.0 if known else None
    loss = row.value_of("quality_loss")
    return 0.0 if loss is not None and loss < 0 and null.quality(row) != "better" else loss


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
        return plain | {"within": self.within} | hint

    def in_words(self) -> str:
        """Return it as a clause."""
        if self.within:
            return f"best is {self.label}"
        open_ = "" if self.more_images is None else f", about {self.more_images} more images decide"
        return f"none surely; {self.label} {self.speedup:.2f}× may{open_}"


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


def best(measured: Sequence[Measurement], max_loss: float, null: NullArm) -> Best | None:
    """Return the fastest candidate that surely keeps the bound, else the fastest that may.

    The baseline takes part: it loses nothing, so what is not told to be faster is never the best.
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
        if answers[row.label].answer == "within" and null.speed(row) == "faster"
    ]
    perhaps = [
        Best(row.label, gain.value, loss.value, False, _more_images(row, answers[row.label]))
        for row, gain, loss in known
        if _may_keep(loss, max_loss) and (_proven_speedup(row, null) or 0.0) > 1
    ]
    baseline = Best("baseline", 1.0, 0.0, within=True)
    return max(sure or perhaps, key=lambda found: found.speedup, default=baseline)


def _may_keep(loss: statistics.Estimate, max_loss: float) -> bool:
    return (loss.value if loss.low is None else loss.low) <= max_loss


def _more_images(row: Measurement, answered: Bound) -> int | None:
    if answered.images is None:
        return None
    return max(1, answered.images - int(row.value_of("images_scored") or 0))
