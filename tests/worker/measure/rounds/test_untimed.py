"""What is measured after the timed rounds: taken again where disturbed, absent with the reason."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.helpers.tiny_task import NO_CONTROLS, measure, read, value
from worker.errors import OutOfMemoryError, UnknownFigureError
from worker.measure import session
from worker.measure.rounds import untimed
from worker.measure.rounds.call import Batch
from worker.measure.task import task_run
from worker.metrics import device_time, energy
from worker.metrics.device import Meter, Reading
from worker.metrics.host import Disturbance, HostMeter, HostReading
from worker.results.device_time import FIGURES as OF_DEVICE_TIME

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
        return Reading(
            disturbance=Disturbance("another process used the GPU", "pid 1") if another else None
        )


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


WAITED = HostReading(disturbance=Disturbance("waited for a core", "30%"))
FOREIGN = Reading(disturbance=Disturbance("another process used the GPU", "pid 1"))


def test_energy_under_load_on_the_host_is_absent(measured, monkeypatch):
    monkeypatch.setattr(HostMeter, "stop", lambda _self, _seconds: WAITED)
    assert measured(CountingMeter)["absent"]["energy_per_image"] == str(WAITED.disturbance)


@pytest.mark.parametrize(
    ("disturbed", "most_on_host", "reason"),
    [
        ([], 0.1, None),
        ([{"host": WAITED}], 0.1, None),
        ([{"host": WAITED}] * 3, 0.1, WAITED.disturbance),
        # the kernels of a profile take as long
        ([{"host": WAITED}] * 3, 1.0, None),
        ([{"reading": FOREIGN}], 0.1, FOREIGN.disturbance),
        ([{"reading": FOREIGN}], 1.0, FOREIGN.disturbance),
    ],
)
def test_a_call_in_ten_may_wait_for_a_core_and_none_shares_the_device(
    disturbed, most_on_host, reason
):
    quiet = Batch(None, 1.0, Reading(), HostReading(), None)
    calls = untimed.FurtherCalls(SimpleNamespace(meter=Meter("cpu")), None)
    calls.made.extend([quiet] * (20 - len(disturbed)))
    calls.made.extend(replace(quiet, **it) for it in disturbed)
    assert calls.disturbance(most_on_host) == reason


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


SECTION = {
    "configurations": [{"deepcache": {"cache_interval": 2}}],
    "controls": NO_CONTROLS,
    "timing": {"repeats": 1, "warmup": 0},
}
CALL = {"section": SECTION, "num_samples": 1, "batch_size": 1}


@pytest.fixture
def profiled(monkeypatch):
    """Make the CPU look like a device that computes for half of each call; return the calls."""
    calls = []

    def device_seconds(call):
        calls.append(call())
        return calls[-1] / 2

    monkeypatch.setattr(task_run, "why_not", lambda _device: None)
    monkeypatch.setattr(device_time, "device_seconds", device_seconds)
    return calls


def newest(path):
    """Return the rows that count, by their labels: of two of the same, the later one."""
    return {row["label"]: row for row in read(path) if "label" in row}


def test_load_on_the_host_does_not_touch_device_time(tmp_path, profiled, monkeypatch):
    monkeypatch.setattr(HostMeter, "stop", lambda _self, _seconds: WAITED)
    measure(tmp_path / "t.jsonl", **CALL)
    assert value(newest(tmp_path / "t.jsonl")["DeepCache 2/0"], "speedup_device") > 0


def test_device_time_comes_last_and_is_added_to_the_rows(tmp_path, profiled):
    said = []
    measure(tmp_path / "t.jsonl", said.append, **CALL)
    found = newest(tmp_path / "t.jsonl")
    assert len(profiled) == 2 * untimed._MOST_PROFILED
    for row in found.values():
        assert len(row["samples"]["device_seconds"]) == untimed._MOST_PROFILED
        assert value(row, "device_busy_share") > 0
        assert not row["absent"].keys() & OF_DEVICE_TIME
    assert found["baseline"]["samples"]["device_seconds"] == [taken / 2 for taken in profiled[::2]]
    assert value(found["baseline"], "speedup_device") is None
    assert value(found["DeepCache 2/0"], "speedup_device") > 0
    # the rows were durable before, and all that follows the profile is the summary
    assert [line.get("label") for line in read(tmp_path / "t.jsonl")] == [
        "baseline",
        "DeepCache 2/0",
        "baseline",
        "DeepCache 2/0",
        None,
    ]
    begun = next(number for number, line in enumerate(said) if line.startswith("profiling"))
    assert not any("measuring" in line or "batch 1" in line for line in said[begun:])


def test_an_interrupted_profile_is_made_up_for_and_nothing_is_measured_again(
    tmp_path, profiled, monkeypatch
):
    path = tmp_path / "t.jsonl"
    with monkeypatch.context() as interrupted:
        interrupted.setattr(device_time, "device_seconds", lambda _call: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            measure(path, **CALL)
    before = newest(path)
    assert "follows" in before["baseline"]["absent"]["device_seconds"]
    said = []
    measure(path, said.append, **CALL)
    assert not any(line.startswith("measuring") for line in said)
    after = newest(path)
    for label, row in after.items():
        assert value(row, "device_seconds") > 0
        assert row["samples"]["seconds"] == before[label]["samples"]["seconds"]
    lines = len(read(path))
    measure(path, said.append, **CALL)
    assert len(read(path)) == lines + 1, "only a summary"


def test_what_ends_the_worker_in_its_profile_can_be_turned_off(tmp_path, profiled, monkeypatch):
    """And on again, without timing anything anew."""
    path = tmp_path / "t.jsonl"
    timing = {**SECTION["timing"], "device_time": False}
    off = CALL | {"section": SECTION | {"timing": timing}}
    with monkeypatch.context() as crashing:
        crashing.setattr(device_time, "device_seconds", lambda _call: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            measure(path, **CALL)
        measure(path, **off)
    assert "summary" in read(path)[-1]
    said = []
    measure(path, said.append, **CALL)
    assert "profiling 2 configurations" in said
    assert not any(line.startswith("measuring") for line in said)
    assert value(newest(path)["DeepCache 2/0"], "speedup_device") > 0


def test_a_cpu_is_not_profiled_where_it_is_turned_on_later(tmp_path):
    said = []
    for asked in (False, True):
        section = SECTION | {"timing": {**SECTION["timing"], "device_time": asked}}
        measure(tmp_path / "t.jsonl", said.append, **(CALL | {"section": section}))
    assert sum(line.startswith("measuring") for line in said) == 1
    assert not any(line.startswith("profiling") for line in said)


def test_a_larger_grid_profiles_what_is_new(tmp_path, profiled):
    path = tmp_path / "t.jsonl"
    measure(path, **CALL)
    more = SECTION | {"configurations": [*SECTION["configurations"], {"tgate": {"gate_step": 2}}]}
    before = newest(path)["baseline"]
    measure(path, **(CALL | {"section": more}))
    assert newest(path)["baseline"] == before
    assert value(newest(path)["T-GATE 2"], "speedup_device") > 0


def test_a_profile_that_fails_is_a_reason_and_the_task_goes_on(tmp_path, profiled, monkeypatch):
    def fail(_call):
        raise UnknownFigureError("torch's profiler saw no kernel")

    monkeypatch.setattr(device_time, "device_seconds", fail)
    measure(tmp_path / "t.jsonl", **CALL)
    for row in newest(tmp_path / "t.jsonl").values():
        assert row["status"] == "measured"
        assert row["absent"]["speedup_device"] == "torch's profiler saw no kernel"


@pytest.mark.parametrize(
    ("timing", "reason"),
    [({}, "a CPU computes"), ({"device_time": False}, "timing.device_time is false")],
)
def test_without_a_profile_rows_are_written_once(measured, timing, reason):
    row = measured(**timing)
    assert row["absent"]["device_seconds"].startswith(reason)


@pytest.mark.parametrize(("seconds", "calls"), [(0.1, 7), (0.31, 7), (0.45, 5), (0.7, 3), (3.0, 3)])
def test_short_calls_are_profiled_more_often(tmp_path, profiled, monkeypatch, seconds, calls):
    monkeypatch.setattr(device_time, "device_seconds", lambda call: call() and seconds)
    measure(tmp_path / "t.jsonl", **(CALL | {"section": SECTION | {"configurations": []}}))
    assert (
        newest(tmp_path / "t.jsonl")["baseline"]["samples"]["device_seconds"] == [seconds] * calls
    )
