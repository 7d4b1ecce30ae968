"""Intervals of a loss that is looked at several times while images are added.

A plain 95 % interval that is looked at after 8, 32, 128 and 512 images is wrong at one of the looks in
far more than 5 % of cases. Here the error is spent over looks that are fixed beforehand (alpha spending,
Lan and DeMets 1983, Biometrika 70:659), evenly, since each look has four times the images of the one
before. Each look is an interval of Student's t with the error that it may add. By the union bound all
looks at a configuration together are wrong in at most alpha of cases, whatever their dependence.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from worker.results.statistics import Estimate

Array = NDArray[np.float64]

_FEWEST_FOR_SKEWNESS = 2


def loss_interval(baseline: Array, scores: Array, error: float) -> Estimate:
    """Estimate the relative loss (mean(baseline) - mean(scores)) / |mean(baseline)| of paired scores.

    The interval is Student's t of the ratio's linearisation (the delta method).

    Args:
        baseline: scores of the baseline, shape [prompts].
        scores: those of the configuration for the same prompts, the same shape.
        error: share of cases in which the interval may miss the truth, half of it at each end.
    """
    value, rest = _linearised(baseline, scores)
    count = len(rest)
    if count < 2:
        return Estimate(value)
    half = t_quantile(error / 2, count - 1) * float(rest.std(ddof=1)) / math.sqrt(count)
    return Estimate(value, value - half, value + half)


def skewed_interval(baseline: Array, scores: Array, error: float) -> Estimate:
    """Estimate the same where few images lose much: the worse end lies farther out for it.

    That a rare bad image has not come yet makes both the mean and its spread too small at once, and
    Student's t says "within" too often. Its quantile is moved by the skewness, as Hall's transformation does
    (1992, Journal of the Royal Statistical Society B 54:221); skewness the other way moves nothing.

    Args:
        baseline: scores of the baseline, shape [prompts].
        scores: those of the configuration for the same prompts, the same shape.
        error: share of cases in which the interval may miss the truth, half of it at each end.
    """
    plain = loss_interval(baseline, scores, error)
    value, rest = _linearised(baseline, scores)
    count = len(rest)
    spread = float(rest.std(ddof=1)) if count > _FEWEST_FOR_SKEWNESS else 0.0
    if plain.high is None or not spread:
        return plain
    # the third moment, for a sample
    third = float(((rest - rest.mean()) ** 3).sum()) * count / ((count - 1) * (count - 2))
    skewness = third / spread**3 / math.sqrt(count)
    if skewness <= 0:
        return plain
    quantile = -t_quantile(error / 2, count - 1) - skewness / 6
    moved = (np.cbrt(1 + skewness * quantile) - 1) / (skewness / 3)
    worse = value - spread / math.sqrt(count) * float(moved)
    return Estimate(value, plain.low, max(plain.high, worse))


def _linearised(baseline: Array, scores: Array) -> tuple[float, Array]:
    """Return the relative loss, and what is left of each prompt's; NaN and none of a mean of zero."""
    lost, mean = baseline - scores, float(baseline.mean())
    if mean == 0:
        return math.nan, np.empty(0)
    value = float(lost.mean()) / abs(mean)
    return value, (lost - value * np.sign(mean) * baseline) / abs(mean)


@lru_cache(maxsize=1024)
def t_quantile(tail: float, freedom: int) -> float:
    """Return beyond which value a share ``tail`` of Student's t lies.

    Exact for every tail, as small ones need it: by bisection of the finite series for whole degrees
    of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, 1.0
    while _t_tail(high, freedom) > tail and high < 1e9:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_tail(middle, freedom) > tail else (low, middle)
    return high


def _t_tail(value: float, freedom: int) -> float:
    angle = math.atan2(value, math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for number in range(2 + odd, freedom - 1, 2):
        term *= square * (number - 1) / number
        total += term
    inner = sine * total
    return (1 - ((2 / math.pi) * (angle + inner) if odd else inner)) / 2
