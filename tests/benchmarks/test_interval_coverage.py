"""The intervals of speed-ups hold the truth as often as they say, by simulation."""

import math
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TIMES = 600
# three standard errors below 95 %
LEAST_COVERAGE = 0.95 - 3 * math.sqrt(0.95 * 0.05 / TIMES)


@pytest.fixture
def simulation(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import interval_coverage

    return interval_coverage


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        ("noise of 3 %", None),
        ("noise of 3 %", 0.02),
        ("5 % of calls late", 0.01),
        ("20 % of calls late", 0.02),
        ("ramp", 0.02),
        ("host of two speeds, 10 calls", 0.02),
    ],
)
def test_the_truth_lies_in_the_interval_wherever_timing_stops(simulation, model, precision):
    rule = simulation.Rule("", precision)
    found = simulation.coverage(simulation.MODELS[model], rule, TIMES, most=150)
    assert found.share >= LEAST_COVERAGE
    assert precision is None or found.half_width <= precision
    assert found.rounds < 150


def test_a_rule_that_stops_at_the_plain_interval_is_found_out(simulation):
    naive = simulation.Rule("", 0.01, naive=True)
    model = simulation.MODELS["5 % of calls late"]
    assert simulation.coverage(model, naive, TIMES, most=150).share < LEAST_COVERAGE


def test_neighbours_cost_estimators_that_do_not_pair_many_times_the_rounds(simulation):
    found = simulation.errors(simulation.MODELS["host of two speeds, 10 calls"], 200, 40)
    ours = found.pop("middle half of ratios")
    assert min(found.values()) > 3 * ours


def test_the_null_arm_keeps_chance_from_being_called_a_difference(simulation):
    rule = simulation.Rule("", None)
    judged, alone = simulation.told(rule, 1.0, TIMES)
    assert judged < 0.02 < alone
    assert simulation.told(rule, 1.1, 100) == (1, 1)
