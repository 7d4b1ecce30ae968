"""The configurations that no other beats in both speed-up and quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

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
    speedup = 1.0 if row.role == "baseline" else proven_speedup(row, null)
    loss = _proven_loss(row, null)
    if row.is_null_arm or speedup is None or loss is None:
        return None
    return _Point(speedup, loss)


def proven_speedup(row: Measurement, null: NullArm) -> float | None:
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
        return None if row.value_of("clip_score") is None else 0.0
    loss = row.value_of("quality_loss")
    return 0.0 if loss is not None and loss < 0 and null.quality(row) != "better" else loss
