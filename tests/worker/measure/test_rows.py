"""From samples to the metrics of a row."""

import pytest

from worker.measure import rows
from worker.measure.samples import Samples
from worker.metrics.device import Reading
from worker.metrics.energy import Energy
from worker.metrics.host import Disturbance, HostReading
from worker.search.configuration import BASELINE, Configuration


def test_energy_is_of_the_images_of_its_own_calls():
    energy = Energy(joules=1500.0, seconds=3.0, calls=5, idle_watts=120.0)
    samples = Samples(BASELINE, seconds=[2.0] * 4, readings=[Reading()] * 4, energy=energy)
    row = rows.make_measurement(samples, samples, batch_size=2)
    assert row.value_of("energy_per_image") == 150
    assert row.value_of("mean_power") == 500
    assert row.value_of("idle_power") == 120


@pytest.mark.parametrize(
    ("scores", "others", "lost"),
    [
        ([-2.0, -2.0], [-3.0, -3.0], 0.5),
        ([-2.0, -2.0], [-1.0, -1.0], -0.5),
        ([2.0, 2.0], [1.0, 1.0], 0.5),
        ([2.0, -2.0], [1.0, 1.0], None),
    ],
)
def test_a_lower_score_is_a_loss_whatever_its_sign(scores, others, lost):
    base, other = (
        Samples(BASELINE, seconds=[1.0] * 2, readings=[Reading()] * 2, clip=clip)
        for clip in (scores, others)
    )
    row = rows.make_measurement(other, base, batch_size=1)
    assert row.value_of("speedup") == 1
    assert row.value_of("quality_loss") == lost


def test_the_log_says_how_sure_a_figure_is():
    baseline = Samples(BASELINE, seconds=[1.0, 1.02, 1.01, 1.04, 1.03, 1.05], clip=[30.0, 32.0])
    other = Samples(Configuration.other_seeds(), seconds=baseline.seconds, clip=[29.0, 33.0])
    for samples in (baseline, other):
        samples.readings = [Reading() for _ in samples.seconds]
    measured = rows.make_measurement(other, baseline, batch_size=1)
    assert rows.in_words(measured) == (
        "baseline, other seeds: 1.025 s/image, 1.00x [1.00, 1.00], CLIP 31.00 [29.00, 33.00], "
        "loss +0.00% [-3.12%, +3.33%]"
    )
    assert rows.in_words(rows.make_measurement(baseline, baseline, batch_size=1)) == (
        "baseline: 1.025 s/image, CLIP 31.00 [30.00, 32.00]"
    )
    bare = Samples(BASELINE, seconds=[1.0], readings=[Reading()], clip=[30.0])
    assert (
        rows.in_words(rows.make_measurement(bare, bare, 1)) == "baseline: 1.000 s/image, CLIP 30.00"
    )


def test_a_row_says_what_disturbed_its_batches():
    samples = Samples(
        BASELINE,
        seconds=[1.0] * 4,
        hosts=[HostReading(cpu_seconds=0.9, host_share=0.5, wait_share=0.1)] * 4,
        disturbances=[
            Disturbance("waited for a core", "0.1 s"),
            None,
            Disturbance("waited for a core", "0.2 s"),
            Disturbance("the GPU was too hot"),
        ],
        retaken=[
            Disturbance("waited for a core", "0.3 s"),
            Disturbance("another process used the GPU", "pid 3"),
        ],
    )
    row = rows.make_measurement(samples, samples, batch_size=1)
    assert row.as_json()["disturbed"] == {
        "another process used the GPU": {"retaken": 1, "kept": 0},
        "the GPU was too hot": {"retaken": 0, "kept": 1},
        "waited for a core": {"retaken": 1, "kept": 2},
    }
    assert row.value_of("batches_disturbed") == 3
    assert row.value_of("batches_retaken") == 2
    assert row.value_of("cpu_seconds_per_batch") == 0.9
    words = "3 of 4 batches disturbed: waited for a core (2), the GPU was too hot (1)"
    assert rows.in_words(row).endswith(words)


def test_a_host_that_does_not_tell_of_waits_is_said():
    samples = Samples(BASELINE, seconds=[1.0], hosts=[HostReading()])
    row = rows.make_measurement(samples, samples, batch_size=1)
    assert "does not tell" in row.absent["wait_share"]


@pytest.mark.parametrize(("undisturbed", "speedup"), [(6, 2.0), (5, 1.0)])
def test_a_speedup_is_of_undisturbed_rounds_where_there_are_enough(undisturbed, speedup):
    disturbed = 20
    base, other = (
        Samples(BASELINE, seconds=[1.0] * disturbed + [fast] * undisturbed) for fast in (1.0, 0.5)
    )
    # of either arm: a pair is as good as the worse of its two calls
    base.disturbances = [Disturbance("waited for a core")] * 4 + [None] * (16 + undisturbed)
    other.disturbances = [None] * 4 + [Disturbance("waited for a core")] * 16 + [None] * undisturbed
    row = rows.make_measurement(other, base, batch_size=1)
    assert row.value_of("speedup") == speedup
    assert row.value_of("speedup_pairs") == (6 if undisturbed == 6 else 25)
    assert row.samples.disturbed_rounds == list(range(disturbed))
    assert row.value_of("timed_batches") == disturbed + undisturbed
