"""Verdicts: what was measured, held against what is demanded."""

from __future__ import annotations

import pytest

from worker.accelerators.spec import Role
from worker.config.target import Target
from worker.judging.judge import verdict
from worker.judging.measure_program import Measured
from worker.results.row import MEASURED, Figures, Measurement
from worker.results.statistics import Estimate


def made(role: Role) -> Measurement:
    return Measurement(
        role=role,
        label=role,
        configuration={},
        status=MEASURED,
        metrics=[],
        samples=Figures(),
    )


def measured(
    gain: tuple[float, float | None, float | None],
    loss: tuple[float, float, float],
    latency: float = 1.0,
) -> Measured:
    baseline, candidate = made("baseline"), made("candidate")
    return Measured(baseline, candidate, Estimate(*gain), Estimate(*loss), latency)


@pytest.mark.parametrize(
    ("gain", "loss", "target", "passed", "achievement"),
    [
        ((2.0, 1.9, 2.1), (0.0, 0.0, 0.0), Target(1.8), True, 1.0),
        ((1.5, 1.4, 1.6), (0.0, 0.0, 0.0), Target(2.0), False, 0.75),
        ((2.0, 1.7, 2.3), (0.0, 0.0, 0.0), Target(1.8), None, 1.0),
        ((2.0, None, None), (0.0, 0.0, 0.0), Target(1.8), None, 1.0),  # too few pairs
        ((2.0, 1.9, 2.1), (0.01, 0.0, 0.02), Target(1.8, 0.05), True, 1.0),
        ((2.0, 1.9, 2.1), (0.10, 0.08, 0.12), Target(1.8, 0.05), False, 0.5),
        ((2.0, 1.9, 2.1), (0.04, 0.02, 0.06), Target(1.8, 0.05), None, 1.0),
        ((2.0, 1.9, 2.1), (0.0, 0.0, 0.0), Target(latency=0.5), False, 0.5),
        ((2.0, 1.9, 2.1), (0.0, 0.0, 0.0), Target(latency=1.0), True, 1.0),
        ((2.0, 1.9, 2.1), (0.0, 0.0, 0.0), Target(), True, 1.0),
    ],
)
def test_verdicts(
    gain: tuple[float, float | None, float | None],
    loss: tuple[float, float, float],
    target: Target,
    passed: bool | None,
    achievement: float,
) -> None:
    found = verdict(measured(gain, loss), target)
    assert found.passed is passed
    assert found.achievement == pytest.approx(achievement)


@pytest.mark.parametrize("role", ["baseline", "candidate"])
def test_a_bound_on_a_quality_that_is_not_known_is_never_passed(role: Role) -> None:
    gain = Estimate(2.0, 1.9, 2.1)
    unknown = Measured(made("baseline"), made(role), gain, None, 1.0, "random weights")
    found = verdict(unknown, Target(max_loss=0.05))
    assert (found.answers["loss"], found.passed) == ("cannot tell yet", None)
