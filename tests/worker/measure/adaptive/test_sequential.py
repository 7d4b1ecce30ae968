"""Intervals that are looked at again and again are wrong no more often than they say, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from worker.measure.adaptive.sequential import loss_interval, skewed_interval, t_quantile
from worker.search.looks import looks

RUNS = 2000
ERROR = 0.05


@pytest.mark.parametrize(
    ("tail", "freedom", "expected"),
    [
        (0.025, 1, 12.706),
        (0.025, 2, 4.3027),
        (0.025, 7, 2.3646),
        (0.0005, 7, 5.4079),
        (0.0005, 8, 5.0413),
        (0.005, 31, 2.7440),
        (0.025, 511, 1.9646),
    ],
)
def test_the_quantiles_are_those_of_students_t(tail, freedom, expected):
    assert t_quantile(tail, freedom) == pytest.approx(expected, abs=5e-4)


def draw(kind: str, generator: np.random.Generator, count: int) -> np.ndarray:
    """Return single losses with a mean of 2 %, shape [RUNS, count]."""
    shape = (RUNS, count)
    if kind == "normal":
        return generator.normal(0.02, 0.03, shape)
    if kind == "heavy tails":
        return 0.02 + 0.02 * generator.standard_t(3, shape)
    # one image in five falls apart
    return np.where(generator.random(shape) < 0.2, generator.exponential(0.1, shape), 0.0)


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "some fall apart"])
def test_the_better_end_is_wrong_at_no_look_in_more_than_its_share_of_runs(kind):
    """It is what rejects: a configuration that loses exactly the bound is rejected so often at most."""
    generator = np.random.default_rng(0)
    all_looks = looks(512)
    base = 90 + generator.normal(0, 4, (RUNS, 512))
    lost = draw(kind, generator, 512)
    wrong = sum(
        any(
            loss_interval(b[:n], b[:n] - 90 * d[:n], ERROR / len(all_looks)).low > 0.02
            for n in all_looks
        )
        for b, d in zip(base, lost, strict=True)
    )
    # half of the error is the other end's
    most = ERROR / 2
    assert wrong / RUNS <= most + 3 * math.sqrt(most * (1 - most) / RUNS)


def test_looking_naively_is_wrong_more_often():
    """What the simulation above would find if each look had a 95 % interval of its own."""
    generator = np.random.default_rng(0)
    base = np.full(512, 90.0)
    lost = draw("normal", generator, 512)
    wrong = sum(
        any(loss_interval(base[:n], base[:n] - 90 * d[:n], ERROR).low > 0.02 for n in looks(512))
        for d in lost
    )
    assert wrong / RUNS > 1.8 * ERROR / 2


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "some fall apart"])
@pytest.mark.parametrize("prompts", [32, 128])
def test_the_worse_end_is_wrong_in_no_more_than_its_share_of_runs(kind, prompts):
    """It is what confirms: one that loses exactly the bound is confirmed so often at most."""
    wrong = wrongly_within(skewed_interval, kind, prompts)
    most = ERROR / 2
    assert wrong <= most + 3 * math.sqrt(most * (1 - most) / RUNS)


def test_without_regard_to_skewness_it_is_wrong_more_often():
    assert wrongly_within(loss_interval, "some fall apart", 32) > 4 * ERROR / 2


def wrongly_within(interval, kind, prompts):
    """Return in which share of runs what loses 2 % is said to lose less."""
    generator = np.random.default_rng(0)
    base = 90 + generator.normal(0, 4, (RUNS, prompts))
    lost = draw(kind, generator, prompts)
    pairs = zip(base, lost, strict=True)
    return sum(interval(b, b - 90 * d, ERROR).high <= 0.02 for b, d in pairs) / RUNS


@pytest.mark.parametrize(
    ("baseline", "scores"),
    [
        ([90.0], [89.0]),
        ([90.0, 91.0], [89.0, 91.0]),
        ([90.0, 91.0, 92.0], [90.0, 91.0, 92.0]),
        ([-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]),
        ([-20.0, -21.0, -20.5, -20.0], [-20.0, -21.0, -20.5, -60.0]),
    ],
)
def test_of_few_prompts_or_none_that_differ_it_is_the_plain_one_or_wider(baseline, scores):
    plain, skewed = (
        interval(np.array(baseline), np.array(scores), ERROR)
        for interval in (loss_interval, skewed_interval)
    )
    assert skewed.value == plain.value or math.isnan(plain.value)
    assert skewed.low == plain.low
    assert (skewed.high is None) == (plain.high is None)
    assert skewed.high is None or skewed.high >= plain.high
