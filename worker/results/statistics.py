"""Intervals for paired measurements, and what they say about a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Answer = Literal["within", "not within", "cannot tell yet"]
Comparison = Literal["yes", "no", "cannot tell yet"]

# with fewer, a bootstrap interval is much too narrow to decide anything by
FEWEST_IMAGES = 16
# with fewer, an interval is a guess: the middle half would be two or three ratios
FEWEST_PAIRS = 6
# how much wider an interval must be that timing stopped at because it was narrow: found by
# simulation (benchmarks/interval_coverage.py), for the looks of worker/results/stopping.py
STOPPING_FACTOR = 1.25
_RESAMPLES = 2000
# on each side of a 95 % interval
_TAIL = 0.025
# Times as wide as the distance to the bound: a million million times the images would be needed.
_HOPELESS = 1e6


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval (both ends None where there is too little data)."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def relative_half_width(self) -> float | None:
        """Half of the interval's width as a share of the value; None where it is not known."""
        if self.low is None or self.high is None or not self.value:
            return None
        return (self.high - self.low) / (2 * abs(self.value))


def speedup(
    baseline: Sequence[float], candidate: Sequence[float], *, stopped_when_narrow: bool = False
) -> Estimate:
    """Estimate by what factor the candidate is faster, from paired times.

    It is the mean of the middle half of the pairs' ratios (of their logarithms). The two calls of a
    pair lie in the same seconds, so what slows both of them down, a host that runs at two thirds of
    its speed for a while, is in neither ratio nor interval; of a pair between whose calls it came
    or went, the ratio is far out and counts no further than the quarter at its end. Statistics of
    each arm by itself (medians, the faster half) need many times as many rounds on such a host
    (benchmarks/interval_coverage.py).

    The interval is that of a trimmed mean: the spread of the winsorized ratios, Student's t with
    as many degrees of freedom as ratios are left, less one (Yuen 1974, Biometrika 61:165).

    Args:
        baseline: seconds of each call, shape [pairs].
        candidate: seconds of the calls beside them, the same shape.
        stopped_when_narrow: whether timing stopped because this interval was narrow enough.

    Raises:
        ValueError: the sequences differ in length or are empty.
    """
    a, b = _pairs(baseline, candidate)
    with np.errstate(all="ignore"):
        value = float(_gain(a, b))
        if a.size < FEWEST_PAIRS or not math.isfinite(value):
            return Estimate(value)
        cut = _quarter(a.size)
        ratios = np.sort(np.log(a / b))
        winsorized = ratios.clip(ratios[cut], ratios[-1 - cut])
        left = a.size - 2 * cut
        error = winsorized.std(ddof=1) * math.sqrt((a.size - 1) / (left * (left - 1)))
        half = _t_quantile(left - 1) * error
        factor = float(np.exp(half * (STOPPING_FACTOR if stopped_when_narrow else 1)))
    return Estimate(value, value / factor, value * factor)


def relative_loss(baseline: Sequence[float], candidate: Sequence[float]) -> Estimate:
    """Estimate (mean(baseline) - mean(candidate)) / |mean(baseline)| of paired scores.

    A lower score is a loss whatever its sign. Of a baseline whose mean is zero no share can be
    lost: the value is then NaN, or infinite, without an interval.
    """
    return _paired(baseline, candidate, _loss)


def mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean of one sample."""
    return _paired(values, values, lambda a, _b: a.mean(axis=-1))


def _gain(baseline: Array, candidate: Array) -> Array:
    """Return the speed-up of each row of pairs: the middle half's mean, along the last axis."""
    ratios = np.sort(np.log(baseline / candidate), axis=-1)
    cut = _quarter(ratios.shape[-1])
    return np.asarray(np.exp(ratios[..., cut : ratios.shape[-1] - cut].mean(axis=-1)))


def _quarter(count: int) -> int:
    """Return how many ratios at each end are no part of the middle half."""
    return count // 4


def _loss(baseline: Array, candidate: Array) -> Array:
    mean = baseline.mean(axis=-1)
    return np.asarray((mean - candidate.mean(axis=-1)) / np.abs(mean))


def _paired(
    first: Sequence[float],
    second: Sequence[float],
    statistic: Callable[[Array, Array], Array],
) -> Estimate:
    a, b = _pairs(first, second)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(a, b))
        if a.size < 2 or not math.isfinite(value):
            return Estimate(value)
        resampled = _resampled(a, b, statistic)
    tail = _expanded_tail(a.size)
    low, high = np.percentile(resampled, [100 * tail, 100 * (1 - tail)])
    return Estimate(value, float(low), float(high))


def _expanded_tail(count: int) -> float:
    """Return the share of resamples beyond each end of a 95 % interval, for so many pairs.

    Resamples of few values spread too little. Hesterberg 2015 (arXiv 1411.5279), the expanded
    percentile interval: go as far out as Student's t would, and by sqrt(n / (n - 1)) for the
    divisor.
    """
    freedom = count - 1
    return NormalDist().cdf(-_t_quantile(freedom) * math.sqrt(count / freedom))


def _t_quantile(freedom: int) -> float:
    """Return where Student's t ends a 95 % interval, by its Cornish-Fisher series.

    The error is below 0.01 from 5 degrees of freedom on, and 3 % of the quantile with 2.
    """
    z = NormalDist().inv_cdf(1 - _TAIL)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _pairs(first: Sequence[float], second: Sequence[float]) -> tuple[Array, Array]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"expected pairs, found {a.size} and {b.size} values")
    return a, b


def _resampled(a: Array, b: Array, statistic: Callable[[Array, Array], Array]) -> Array:
    """Return the statistic of each resample, shape [resamples].

    A fixed seed: the same measurements always give the same interval, and resample number i is of
    the same pairs in every arm that has as many.
    """
    draws = np.random.default_rng(0).integers(0, a.size, size=(_RESAMPLES, a.size))
    return statistic(a[draws], b[draws])


@dataclass(frozen=True)
class Arm:
    """What a configuration gave, and the baseline beside it: times by batch, scores by prompt."""

    baseline_seconds: Sequence[float]
    seconds: Sequence[float]
    baseline_scores: Sequence[float]
    scores: Sequence[float]

    def resampled(self) -> tuple[Array, Array]:
        """Return loss and speed-up of each resample, each of shape [resamples].

        Raises:
            ValueError: there are not as many figures of the baseline, or none.
        """
        seconds = _pairs(self.baseline_seconds, self.seconds)
        scores = _pairs(self.baseline_scores, self.scores)
        with np.errstate(divide="ignore", invalid="ignore"):
            return _resampled(*scores, _loss), _resampled(*seconds, _gain)


def beats(candidate: Arm, others: Sequence[Arm], least: float = 0) -> Comparison:
    """Say whether a candidate is faster than others of a kind would be at the same loss.

    The others and the baseline are points of a curve that is straight between them. Behind the
    fastest of them it is not known: one that is still faster may lose no more than the candidate.
    All are resampled by the same prompts, so that what a prompt does to all of them cancels out.

    Args:
        candidate: what is compared.
        others: the points of the curve.
        least: by which share speed-ups must differ to say anything.
    """
    loss, speed = candidate.resampled()
    points = [arm.resampled() for arm in others]
    losses = np.stack([np.zeros(_RESAMPLES), *(point[0] for point in points)], axis=1)
    speeds = np.stack([np.ones(_RESAMPLES), *(point[1] for point in points)], axis=1)
    order = np.argsort(speeds, axis=1)
    losses, speeds = (np.take_along_axis(array, order, axis=1) for array in (losses, speeds))
    at_least = _reached(losses, speeds, loss)
    most = np.where(losses[:, -1] < loss, np.inf, at_least)
    if _surely_more(speed, most, least):
        return "yes"
    return "no" if _surely_more(at_least, speed, least) else "cannot tell yet"


def _surely_more(more: Array, than: Array, least: float) -> bool:
    """Say whether nearly all resamples are more than others, and half of them by such a share."""
    surely = bool((more > than).mean() >= 1 - _TAIL)
    return surely and bool(np.median(more / than) >= 1 + least)


def _reached(losses: Array, speeds: Array, loss: Array) -> Array:
    """Return the best speed-up on each curve within a loss; 1 where none is.

    Args:
        losses: shape [curves, points].
        speeds: the same shape, ascending in each curve.
        loss: shape [curves].
    """
    loss = loss[:, None]
    reached = np.where(losses <= loss, speeds, 1.0).max(axis=1)
    low, high = losses[:, :-1], losses[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = speeds[:, :-1] + (loss - low) / (high - low) * np.diff(speeds, axis=1)
    crossing = np.where((low <= loss) & (loss < high), between, 1.0).max(axis=1)
    return np.asarray(np.maximum(reached, crossing))


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
    if distance == 0 or half == 0 or not abs(half / distance) < _HOPELESS:
        return None
    needed = images * (half / distance) ** 2
    return max(images + 1, math.ceil(needed)) if math.isfinite(needed) else None


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` percent of ``values`` lie."""
    return float(np.percentile(np.asarray(values, dtype=np.float64), share))
