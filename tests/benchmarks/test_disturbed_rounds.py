"""Disturbed calls and rounds are left out for a better figure, not for a nicer one, by simulation."""

import math
from pathlib import Path

import pytest

TIMES = 300
# three standard errors below 95 %
LEAST_COVERAGE = 0.95 - 3 * math.sqrt(0.95 * 0.05 / TIMES)


@pytest.fixture
def disturbed_rounds(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import disturbed_rounds

    return disturbed_rounds


@pytest.mark.parametrize("precision", [None, 0.01])
@pytest.mark.parametrize(
    ("slower", "share"), [((1.6, 1.6), 0.4), ((1.6, 1.2), 0.4), ((1.2, 1.6), 0.7)]
)
def test_undisturbed_rounds_are_closer_to_the_truth(disturbed_rounds, slower, share, precision):
    found = disturbed_rounds.simulate(0.2, 0.5, slower, precision=precision, times=TIMES)
    assert found.undisturbed > 10
    assert found.error < share * found.error_of_all
    assert abs(found.bias) < 0.001
    assert found.coverage >= LEAST_COVERAGE


@pytest.mark.parametrize("precision", [None, 0.01])
@pytest.mark.parametrize("stalls", [(0.0, 0.1), (0.1, 0.0), (0.1, 0.1)])
def test_calls_timed_again_for_their_time_alone_favour_no_arm(disturbed_rounds, stalls, precision):
    found = disturbed_rounds.simulate(0, 1, (1, 1), stalls=stalls, precision=precision, times=TIMES)
    assert abs(found.bias) < 0.001
    assert found.coverage >= LEAST_COVERAGE


def test_what_is_disturbed_most_of_the_time_is_found_out_only_with_time(disturbed_rounds):
    """Of few undisturbed rounds all count, and are off; that timing goes on for a precision helps."""
    fixed, known = (
        disturbed_rounds.simulate(0.5, 0.5, (1.6, 1.2), precision=precision, times=40)
        for precision in (None, 0.01)
    )
    assert fixed.bias > 0.05
    assert abs(known.bias) < 0.003
