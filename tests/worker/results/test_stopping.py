"""When timing may stop."""

import pytest

from worker.results import statistics
from worker.results.stopping import StoppingRule

NOISY = [1.0, 1.1, 1.05, 1.02, 1.08, 1.04, 1.2, 1.01, 1.03, 1.06]


def test_a_fixed_number_of_rounds_is_never_looked_at():
    rule = StoppingRule(None, least=10)
    assert not any(rule.is_look(rounds) for rounds in range(500))


@pytest.mark.parametrize(
    ("least", "looks"),
    [
        (1, [10, 13, 17, 22, 28, 35, 44, 55, 69, 87, 109, 137, 172, 215, 269, 337, 422]),
        (40, [40, 50, 63, 79, 99, 124, 155, 194, 243, 304, 380, 475]),
    ],
)
def test_looks_lie_ever_further_apart_and_never_before_ten_rounds(least, looks):
    rule = StoppingRule(0.02, least)
    assert [rounds for rounds in range(500) if rule.is_look(rounds)] == looks


def test_the_widest_arm_is_what_was_reached():
    quiet = ([1.0] * 10, [0.5] * 10)
    noisy = ([1.0] * 10, NOISY)
    found = statistics.speedup(*noisy, stopped_when_narrow=True)
    rule = StoppingRule(0.02, least=10)
    assert rule.reached([quiet]) == 0
    assert rule.reached([quiet, noisy, quiet]) == pytest.approx(found.relative_half_width)


def test_what_was_reached_is_not_known_from_a_handful():
    assert StoppingRule(0.02, 2).reached([([1.0] * 5, [0.5] * 5)]) is None


def test_a_baseline_alone_waits_for_nothing():
    assert StoppingRule(0.02, 10).reached([]) == 0


def test_looking_makes_the_interval_wider():
    plain = statistics.speedup([1.0] * 10, NOISY)
    looked = statistics.speedup([1.0] * 10, NOISY, stopped_when_narrow=True)
    assert looked.value == plain.value
    wider = looked.relative_half_width / plain.relative_half_width
    assert wider == pytest.approx(statistics.STOPPING_FACTOR, rel=1e-3)
    assert StoppingRule(None, 10).reached([([1.0] * 10, NOISY)]) == plain.relative_half_width
