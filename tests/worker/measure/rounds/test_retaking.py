"""Which timed batches are timed again, and what stays of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from worker.measure.rounds import retaking
from worker.measure.rounds.call import Batch
from worker.measure.samples import Samples
from worker.metrics.device import Reading
from worker.metrics.host import Disturbance, HostReading
from worker.search.configuration import BASELINE

WAITED = Disturbance("waited for a core", "0.100 s, 10% of the call")


def batches(tries: Sequence[tuple[float, str | None]]) -> tuple[Samples, int]:
    """Return what six batches give, and how many tries were left, given the tries in their order."""
    left = iter(tries)

    def make() -> Batch:
        seconds, disturbance = next(left)
        return Batch(None, seconds, Reading(), HostReading(disturbance=disturbance), None)

    samples = Samples(BASELINE)
    for _ in range(6):
        assert retaking.timed(samples, make) is not None
    return samples, len(list(left))


def test_a_batch_that_took_far_longer_is_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker was stopped by a signal, say, which no counter tells."""
    monkeypatch.setattr(retaking, "_FAR_LONGER", 3.0)
    seconds = (1.0, 9.0, 1.2, 1.1, 2.9, 12.0, 1.3)
    samples, left = batches([(took, None) for took in seconds])
    # of the first ones nobody knows which is right
    assert samples.seconds == [1.0, 9.0, 1.2, 1.1, 2.9, 1.3]
    assert samples.retaken == [Disturbance("took far longer than usual", "10 times")]
    assert samples.disturbances == [None] * 6
    assert left == 0


def test_what_stays_is_tried_once_and_what_is_gone_three_times_again() -> None:
    disturbed, quiet = (2.0, WAITED), (1.0, None)
    samples, left = batches([*[disturbed] * 3, disturbed, quiet, *[disturbed] * 2, *[quiet] * 3])
    assert samples.seconds == [2.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    assert samples.disturbances == [WAITED, WAITED, None, None, None, None]
    assert samples.retaken == [WAITED] * 4
    assert left == 0


def test_a_configuration_that_fails_adds_nothing() -> None:
    samples = Samples(BASELINE)
    assert retaking.timed(samples, lambda: None) is None
    assert not samples.seconds
    assert not samples.disturbances
