"""Energy from a counter that moves in steps and lags: of long stretches, and where there is none."""

import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.fake_nvml import NOT_SUPPORTED, FakeNvml
from worker.errors import UnknownFigureError
from worker.metrics.device import Meter
from worker.metrics.energy import measure

IDLE_WATTS = 120.0


class Gpu:
    """A GPU in simulated time: its counter moves every ``period`` and is ``lag`` seconds behind."""

    def __init__(self, period=0.1, lag=0.1, phase=0.0):
        self.now = 10.0
        self.period, self.lag, self.phase = period, lag, phase
        self.bursts = []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def call(self, seconds, watts):
        """Compute for so long, at so much power, and return the seconds."""
        self.bursts.append((self.now, self.now + seconds, watts))
        self.now += seconds
        return seconds

    def joules(self):
        moved = math.floor((self.now - self.phase) / self.period) * self.period + self.phase
        return self._used_until(moved - self.lag)

    def _used_until(self, time):
        computed = ((max(0.0, min(end, time) - start), watts) for start, end, watts in self.bursts)
        return IDLE_WATTS * time + sum(took * (watts - IDLE_WATTS) for took, watts in computed)


@pytest.mark.parametrize("seconds", [0.03, 0.3, 0.61, 3.4])
@pytest.mark.parametrize(
    ("period", "lag", "phase"), [(0.1, 0.1, 0.0), (0.1, 0.1, 0.07), (0.02, 0.1, 0.01), (0.1, 0, 0)]
)
def test_a_long_stretch_is_right_whatever_was_computed_before(seconds, period, lag, phase):
    gpu = Gpu(period, lag, phase)
    gpu.call(5, 690.0)
    energy = measure(gpu.joules, lambda: gpu.call(seconds, 400.0), gpu.clock, gpu.sleep)
    assert energy.joules == pytest.approx(400.0 * energy.seconds, rel=0.02)
    assert energy.seconds == pytest.approx(energy.calls * seconds)
    assert energy.seconds >= 2
    assert energy.idle_watts == pytest.approx(IDLE_WATTS, rel=0.05)


def test_a_reading_at_both_ends_of_a_call_charges_the_next_one():
    """The way that was: it is why the calls of a stretch are one configuration's alone."""
    gpu = Gpu()
    read = {400.0: [], 200.0: []}
    for _ in range(20):
        for watts, readings in read.items():
            before = gpu.joules()
            gpu.call(0.3, watts)
            readings.append((gpu.joules() - before) / 0.3)
    of_400, of_200 = (sum(readings) / len(readings) for readings in read.values())
    assert of_400 < 400 * 0.9
    assert of_200 > 200 * 1.1


def test_idle_between_the_calls_is_no_energy_of_theirs():
    gpu = Gpu()

    def call():
        gpu.sleep(0.05)
        return gpu.call(0.2, 500.0)

    energy = measure(gpu.joules, call, gpu.clock, gpu.sleep)
    assert energy.joules / energy.seconds == pytest.approx(500.0, rel=0.02)


@pytest.mark.parametrize(
    ("counter", "why"),
    [(lambda: 5.0, "stands still"), (lambda: None, "does not answer")],
)
def test_a_counter_that_is_of_no_use_is_said(counter, why):
    gpu = Gpu()
    with pytest.raises(UnknownFigureError, match=why):
        measure(counter, lambda: gpu.call(0.3, 400.0), gpu.clock, gpu.sleep)


def test_a_cpu_tells_no_energy():
    meter = Meter("cpu")
    assert meter.joules() is None
    assert "a CPU" in meter.why_no_energy()


@pytest.mark.parametrize(
    ("settings", "mig", "answer"),
    [
        ({"energy": 5_012_500}, False, "5012.5 None"),
        (
            {"fails": {"nvmlDeviceGetTotalEnergyConsumption": NOT_SUPPORTED}},
            False,
            "None the driver has no energy counter for this GPU",
        ),
        ({}, True, "None a MIG instance has no energy counter of its own"),
    ],
)
def test_a_gpu_tells_its_energy_or_why_not(tmp_path, nvml_library, settings, mig, answer):
    fake_nvml = FakeNvml(tmp_path, nvml_library)
    (gpu,) = fake_nvml.gpus(1, **settings)
    visible = fake_nvml.mig(0, 1)[0] if mig else gpu
    code = """
        from worker.metrics.device import Meter
        meter = Meter("cuda:0")
        print(meter.joules(), meter.why_no_energy())
    """
    environment = fake_nvml.environment(os.environ) | {"CUDA_VISIBLE_DEVICES": visible.uuid}
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == answer
