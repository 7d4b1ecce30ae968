"""What is measured after the timed rounds: taken again where disturbed, absent with the reason."""

import time

import pytest

from tests.helpers.tiny_task import NO_CONTROLS, measure, read, value
from worker.errors import OutOfMemoryError
from worker.measure import session
from worker.measure.rounds import untimed
from worker.metrics import energy
from worker.metrics.device import Meter, Reading

FIGURES = ["energy_per_image", "mean_power", "idle_power"]
WATTS = 50.0


class CountingMeter(Meter):
    """A meter of a device that always takes the same power, and tells it at once."""

    disturbed = ()
    """Stretches that another process disturbs, by their number."""
    stops = 0

    def why_no_energy(self):
        return None

    def joules(self):
        return time.perf_counter() * WATTS

    def stop(self):
        self.stops += 1
        another = self.stops in self.disturbed
        return Reading(spoiled="another process used the GPU (pid 1)" if another else None)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Return a function that measures the baseline, and returns its row."""
    monkeypatch.setattr(energy, "STRETCH_SECONDS", 0.001)
    monkeypatch.setattr(energy, "_SECONDS_TO_SETTLE", 0.01)

    def run(meter=Meter, **timing):
        monkeypatch.setattr(session, "Meter", meter)
        section = {"configurations": [], "controls": NO_CONTROLS}
        section["timing"] = {"repeats": 1, "warmup": 0} | timing
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        measure(path, section=section, num_samples=1, batch_size=1)
        (row,) = read(path)[:-1]
        return row

    return run


def disturbed_in(*stops):
    return type("Disturbed", (CountingMeter,), {"disturbed": stops})


def test_energy_follows_the_timed_batches(measured):
    row = measured(CountingMeter)
    assert value(row, "mean_power") == pytest.approx(WATTS, rel=0.01)
    assert value(row, "idle_power") == pytest.approx(WATTS, rel=0.01)
    assert value(row, "energy_per_image") > 0
    assert not row["absent"].keys() & FIGURES
    assert len(row["samples"]["seconds"]) == 1


# the calls before: the check of the pipeline, and the timed one
@pytest.mark.parametrize("stop", [3, 4])
def test_a_disturbed_stretch_is_measured_again(measured, stop):
    row = measured(disturbed_in(stop))
    assert value(row, "energy_per_image") > 0
    assert not row["absent"].keys() & FIGURES


def test_energy_that_stays_disturbed_is_absent(measured):
    row = measured(disturbed_in(*range(3, 30)))
    assert row["status"] == "measured"
    for name in FIGURES:
        assert value(row, name) is None
        assert row["absent"][name] == "another process used the GPU (pid 1)"


def test_a_further_call_that_does_not_fit_takes_nothing_from_what_was_measured(
    measured, monkeypatch
):
    def refuse(*_arguments):
        raise OutOfMemoryError("the baseline", RuntimeError("CUDA out of memory"))

    monkeypatch.setattr(untimed, "generate", refuse)
    row = measured(CountingMeter)
    assert row["status"] == "measured"
    assert len(row["samples"]["seconds"]) == 1
    assert row["absent"]["energy_per_image"].startswith("a further call failed: the baseline")


def test_a_cpu_has_no_energy(measured):
    assert "a CPU" in measured()["absent"]["energy_per_image"]


def test_energy_can_be_left_out_and_changes_no_digest(measured):
    left_out = measured(CountingMeter, energy=False)
    assert left_out["absent"]["energy_per_image"] == "timing.energy is false"
    assert left_out["settings"]["digest"] == measured(CountingMeter)["settings"]["digest"]
