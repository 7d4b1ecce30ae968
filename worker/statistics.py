"""Bootstrap intervals for paired measurements, and what they say about a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Answer = Literal["within", "not within", "cannot tell yet"]

# with fewer, a bootstrap interval is much too narrow to decide anything by
FEWEST_IMAGES = 16
_RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % bootstrap interval (both ends None where there is too little data)."""

    value: float
    low: float | None = None
    high: float | None = None


def speedup(baseline: Sequence[float], candidate: Sequence[float]) -> Estimate:
    """Estimate median(baseline) / median(candidate) of paired times.

    Pairs are resampled together, so that what both arms share (a slow minute of the machine)
    cancels out; medians, because a hiccup of the host says nothing about either arm.

    Raises:
        ValueError: the sequences differ in length or are empty.
    """
    return _paired(baseline, candidate, lambda a, b: np.median(a, axis=-1) / np.median(b, axis=-1))


def relative_loss(baseline: Sequence[float], candidate: Sequence[float]) -> Estimate:
    """Estimate (mean(baseline) - mean(candidate)) / mean(baseline) of paired scores."""
    return _paired(baseline, candidate, lambda a, b: 1 - b.mean(axis=-1) / a.mean(axis=-1))


def mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean of one sample."""
    return _paired(values, values, lambda a, _b: a.mean(axis=-1))


def _paired(
    first: Sequence[float], second: Sequence[float], statistic: Callable[[Array, Array], Array]
) -> Estimate:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"expected pairs, found {a.size} and {b.size} values")
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(a, b))
        if a.size < 2 or not math.isfinite(value):
            return Estimate(value)
        # a fixed seed: the same measurements always give the same interval
        draws = np.random.default_rng(0).integers(0, a.size, size=(_RESAMPLES, a.size))
        resampled = statistic(a[draws], b[draws])
    tail = 100 * (1 - _LEVEL) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))


def answer(loss: Estimate, bound: float) -> Answer:
    """Say whether a loss keeps within a bound: only when its whole interval does."""
    if loss.low is None or loss.high is None:
        return "cannot tell yet"
    if loss.high <= bound:
        return "within"
    return "not within" if loss.low > bound else "cannot tell yet"


def images_to_decide(loss: Estimate, bound: float, images: int) -> int | None:
    """Return about how many images would decide the bound, or None where no number would.

    The interval's width falls with the square root of the number of images; the value is taken to
    stay where it is.
    """
    if loss.low is None or loss.high is None:
        return None
    half = (loss.high - loss.low) / 2
    distance = abs(loss.value - bound)
    if distance == 0 or half == 0:
        return None
    return max(images + 1, math.ceil(images * (half / distance) ** 2))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` percent of ``values`` lie."""
    return float(np.percentile(np.asarray(values, dtype=np.float64), share))
