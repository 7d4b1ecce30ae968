"""The longest first on the shipped sweeps: within a tenth of what no order can beat, in simulation."""

import itertools
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SEEDS = 100


@pytest.fixture(scope="module")
def makespan():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import makespan

        yield makespan


@pytest.mark.parametrize("sweep", ["sd15", "sd21", "sdxl", "tiny"])
def test_the_longest_first_takes_at_most_a_tenth_longer_than_it_must(makespan, sweep):
    job = makespan.read_job(sweep)
    for devices in (1, 2, 4, 8, 16, 32, 64):
        found = [ratio for ratio, _ in makespan.ratios(job, "longest first", devices, SEEDS)]
        assert statistics.median(found) <= 1.1, f"{sweep} on {devices} devices"


def test_it_is_what_the_axes_lose_a_quarter_by(makespan):
    job = makespan.read_job("sd15")
    by_axes = [ratio for ratio, _ in makespan.ratios(job, "axes", 8, SEEDS)]
    assert statistics.median(by_axes) > 1.2


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7), st.integers(1, 3))
def test_no_order_beats_the_bound(makespan, seconds, devices):
    best = min(
        max(
            sum(took for took, device in zip(seconds, on, strict=True) if device == one)
            for one in range(devices)
        )
        for on in itertools.product(range(devices), repeat=len(seconds))
    )
    assert makespan.simple_bound(seconds, devices) <= makespan.bound(seconds, devices) + 1e-6
    assert makespan.bound(seconds, devices) <= best + 1e-6
