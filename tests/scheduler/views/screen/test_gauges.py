"""What devices do at this moment."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.helpers.fake_nvml import GIB, GPU_IS_LOST, NOT_SUPPORTED, FakeNvml

SCRIPT = """
import json, sys
from dataclasses import asdict
from scheduler.views.screen.gauges import GaugeReader
found = GaugeReader().now(sys.argv[1:], 60.0)
print(json.dumps({name: asdict(gauges) for name, gauges in found.items()}))
"""
NOTHING = dict.fromkeys(("utilization", "used_memory", "total_memory", "power", "temperature"))


def read(fake_nvml: FakeNvml, *devices: str) -> dict[str, dict[str, float | None]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *devices],
        env=fake_nvml.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, float | None]] = json.loads(done.stdout)
    return found


def test_what_nvml_does_not_tell_is_not_known(fake_nvml: FakeNvml) -> None:
    first, second, third = fake_nvml.gpus(3, utilization=97, power=412_500, temperature=63)
    fake_nvml.set(0, hidden=GIB)
    fake_nvml.set(1, fails={"nvmlDeviceGetPowerUsage": NOT_SUPPORTED})
    fake_nvml.set(2, fails={"nvmlDeviceGet": GPU_IS_LOST})
    found = read(fake_nvml, first.uuid, second.uuid, third.uuid, "cpu:0", "GPU-none")
    whole = {"utilization": 97, "used_memory": 0, "total_memory": 141 * GIB, "temperature": 63}
    assert found == {
        first.uuid: {**whole, "used_memory": GIB, "power": 412.5},
        second.uuid: {**whole, "power": None},
        third.uuid: NOTHING,
        "GPU-none": NOTHING,
    }


def test_an_instance_has_memory_of_its_own(fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(1)
    (instance,) = fake_nvml.mig(0, 1)
    (found,) = read(fake_nvml, instance.uuid).values()
    assert found == {**NOTHING, "used_memory": 0, "total_memory": 16 * GIB}


def test_without_a_driver_nothing_is_known(fake_nvml: FakeNvml) -> None:
    assert read(fake_nvml, "GPU-none") == {}
