"""Intervals and what they say about a bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.results import statistics
from worker.results.statistics import Estimate

times = st.lists(st.floats(0.01, 100), min_size=statistics.FEWEST_PAIRS, max_size=30)


@given(times, st.floats(0.1, 10))
def test_a_constant_factor_is_found_exactly_whatever_the_noise(baseline, factor):
    found = statistics.speedup(baseline, [value / factor for value in baseline])
    assert found.low <= found.value * (1 + 1e-9)
    assert found.value <= found.high * (1 + 1e-9)
    assert found.value == pytest.approx(factor)
    assert found.low == pytest.approx(factor)
    assert found.high == pytest.approx(factor)


def test_a_handful_of_times_has_no_interval():
    few = statistics.FEWEST_PAIRS - 1
    assert statistics.speedup([2.0] * few, [1.0] * few) == Estimate(2.0)
    assert statistics.relative_loss([30.0], [15.0]) == Estimate(0.5)


@pytest.mark.parametrize("pairs", [statistics.FEWEST_PAIRS, 10, 40])
@pytest.mark.parametrize("noise", ["even", "one-sided"])
def test_the_interval_of_a_speedup_holds_the_truth_as_often_as_it_says(pairs, noise):
    draw = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        even, hiccups = draw.normal(1, 0.03, (2, pairs)), draw.exponential(0.2, (2, pairs))
        baseline, candidate = even + hiccups * (noise == "one-sided")
        found = statistics.speedup(2 * baseline, candidate)
        hits += found.low <= 2 <= found.high
    assert 180 <= hits <= 199


def test_a_few_hiccups_of_the_host_say_nothing_of_either_arm():
    undisturbed = [1.0] * 10
    disturbed = [1.0] * 8 + [3.0, 9.0]
    assert statistics.speedup(undisturbed, disturbed).value == 1
    assert statistics.speedup(disturbed, undisturbed).value == 1


def test_hiccups_of_half_an_arm_leave_open_what_is_true():
    found = statistics.speedup([1.0] * 10, [1.0] * 5 + [3.0, 1.5, 2.0, 9.0, 1.2])
    assert found.low < 0.8
    assert found.high > 1.2


def test_a_host_of_two_speeds_is_in_neither_ratio_nor_interval():
    """What a host with a busy neighbour does: 1.6 times slower for some rounds, then not."""
    draw = np.random.default_rng(7)
    errors, halves = [], []
    for _ in range(100):
        calls, slow = draw.normal(0, 0.03, (80, 2)), False
        for place in range(calls.size):
            slow = slow != (draw.random() < 1 / 16)
            calls.flat[place] += np.log(1.6) * slow
        found = statistics.speedup(*np.exp(calls).T)
        errors.append(np.log(found.value))
        halves.append(found.relative_half_width)
    assert np.std(errors) < 0.01  # 0.034 with the faster half of each arm
    assert 0.01 < np.median(halves) < 0.02


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [1.0, 2.0])])
def test_what_is_not_paired_is_refused(first, second):
    with pytest.raises(ValueError, match="expected pairs"):
        statistics.speedup(first, second)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draw = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        baseline = draw.normal(30, 3, size=64)
        found = statistics.relative_loss(baseline, baseline * 0.98 + draw.normal(0, 1, size=64))
        hits += found.low <= 0.02 <= found.high
    assert 180 <= hits <= 199


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.01, 0.04, "within"),
        (-0.01, 0.05, "within"),
        (0.04, 0.06, "cannot tell yet"),
        (0.051, 0.06, "not within"),
        (None, None, "cannot tell yet"),
    ],
)
def test_three_answers_to_a_bound(low, high, said):
    assert statistics.answer(Estimate(0.04, low, high), 0.05) == said


def test_images_to_decide():
    # an interval of half-width 2 % at a distance of 1 % must shrink by half: four times the images
    assert statistics.images_to_decide(Estimate(0.04, 0.02, 0.06), 0.05, 32) == pytest.approx(
        128, 1
    )
    assert statistics.images_to_decide(Estimate(0.05, 0.03, 0.07), 0.05, 32) is None
    # so wide or so near that no number would, without running out of range
    assert statistics.images_to_decide(Estimate(0.04, -1e308, 1e307), 0.05, 32) is None
    assert statistics.images_to_decide(Estimate(5e-324, -1.0, 1.0), 0.0, 32) is None
    assert statistics.images_to_decide(Estimate(0.04, 1e308, -1e308), 0.05, 32) is None
    assert statistics.images_to_decide(Estimate(0.04, 0.02, 0.06), 0.05, 10**308) is None


@given(st.lists(st.floats(-100, 100).filter(lambda score: abs(score) > 1e-3), min_size=2))
def test_a_lower_score_is_a_loss_whatever_its_sign(scores):
    if abs(np.mean(scores)) < 1e-3:
        return
    lower = statistics.relative_loss(scores, [score - 1 for score in scores])
    assert lower.value > 0
    assert lower.low > 0
