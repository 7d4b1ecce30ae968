"""From samples to the metrics of a row."""

from worker.measure import rows
from worker.measure.samples import Samples
from worker.metrics.device import Reading
from worker.search.configuration import BASELINE


def test_energy_is_of_the_batches_that_it_is_known_of():
    readings = [Reading(joules=200.0), Reading(), Reading(joules=200.0), Reading()]
    samples = Samples(BASELINE, seconds=[2.0] * 4, readings=readings, images=8)
    row = rows.make_measurement(samples, samples, batch_size=2)
    assert row.value_of("energy_per_image") == 100
    assert row.value_of("mean_power") == 100


def test_of_a_score_below_zero_no_share_can_be_lost():
    base, other = (
        Samples(BASELINE, seconds=[1.0] * 2, readings=[Reading()] * 2, clip=clip)
        for clip in ([-2.0, -2.0], [-1.0, -1.0])
    )
    row = rows.make_measurement(other, base, batch_size=1)
    assert row.value_of("speedup") == 1
    assert row.value_of("quality_loss") is None
