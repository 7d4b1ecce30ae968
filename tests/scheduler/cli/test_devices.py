"""`python -m scheduler devices`, as a user runs it, on machines of every kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.devices.lease import Lease
from scheduler.devices.processes import user_name
from tests.helpers.fake_nvml import GIB, LIB_RM_VERSION_MISMATCH, FakeNvml

ROOT = Path(__file__).parents[3]
SWEEP = """\
matrix: {pipe: [SDXL]}
worker: {command: ["true"]}
devices: {idle_for: 0s, min_free_memory: 24GiB}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    return path


def devices(
    fake_nvml: FakeNvml, *arguments: object, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = fake_nvml.environment() | {"SCHEDULER_LEASES": str(fake_nvml.folder / "leases")}
    return subprocess.run(
        [sys.executable, "-m", "scheduler", "devices", *map(str, arguments)],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
    )


def rows(printed: str) -> dict[str, str]:
    """Each device's index, and what is said of it."""
    return {line.split()[0]: line for line in printed.splitlines()[1:]}


def test_says_of_each_device_why_it_is_or_is_not_idle(fake_nvml: FakeNvml, sweep: Path) -> None:
    gpus = fake_nvml.gpus(8)
    fake_nvml.mig(1, 2, total=35 * GIB)
    gpus[2].utilization = 87
    gpus[3].hidden = 3 * GIB
    gpus[4].lost = True
    gpus[5].total = 16 * GIB
    gpus[6].processes = {os.getpid(): 3 * GIB}
    fake_nvml.write()
    lease = Lease.acquire(fake_nvml.folder / "leases", gpus[7].uuid)
    answer = devices(fake_nvml, sweep)
    lease.release()
    assert (answer.stderr, answer.returncode) == ("", 0)
    me = user_name(os.geteuid())
    expected = {
        "0": "yes   idle",
        "1:0": "yes   idle (utilisation not known)",
        "1:1": "yes   idle (utilisation not known)",
        "2": "no    busy: utilisation 87 % (limit 5 %)",
        "3": "no    busy: 3.0 GiB held by processes that cannot be seen from here",
        "4": "no    lost: the GPU fell off the bus; reset it or reboot",
        "5": "no    too small: 16.0 GiB in all, 24.0 GiB wanted (min_free_memory)",
        "6": f"user {me}) holds 3.0 GiB",
        "7": f"no    leased by another dispatcher (process {os.getpid()}, user {me})",
    }
    printed = rows(answer.stdout)
    assert printed.keys() == expected.keys()
    assert [i for i, reason in expected.items() if not printed[i].rstrip().endswith(reason)] == []


def test_says_which_cores_attempts_get(fake_nvml: FakeNvml, sweep: Path) -> None:
    gpu = fake_nvml.gpus(1)[0]
    cpus = sorted(os.sched_getaffinity(0))
    sweep.write_text(SWEEP.replace("idle_for: 0s", "idle_for: 0s, cores: 1"))
    cores = f"{gpu.uuid}  140.4 GiB of 141.0 GiB  {cpus[0]}"
    assert cores in devices(fake_nvml, sweep).stdout
    sweep.write_text(SWEEP.replace("idle_for: 0s", "idle_for: 0s, cores: off"))
    assert f"{gpu.uuid}  140.4 GiB of 141.0 GiB  all" in devices(fake_nvml, sweep).stdout


def test_shows_what_the_environment_leaves(fake_nvml: FakeNvml, sweep: Path) -> None:
    gpus = fake_nvml.gpus(4)
    answer = devices(fake_nvml, sweep, CUDA_VISIBLE_DEVICES=f"3,{gpus[1].uuid}")
    assert rows(answer.stdout).keys() == {"1", "3"}


def test_where_nvml_cannot_be_used_says_why_and_what_to_do(
    fake_nvml: FakeNvml, sweep: Path
) -> None:
    fake_nvml.fails = {"nvmlInit": LIB_RM_VERSION_MISMATCH}
    fake_nvml.write()
    answer = devices(fake_nvml, sweep)
    assert (answer.stdout, answer.returncode) == ("", 2)
    assert answer.stderr.startswith("the NVIDIA driver and its library libnvidia-ml.so.1 have diff")
    assert answer.stderr.endswith("give devices.cpu_slots\n")


def test_a_setting_that_names_no_device(fake_nvml: FakeNvml, sweep: Path) -> None:
    fake_nvml.gpus(1)
    sweep.write_text(SWEEP.replace("idle_for: 0s", "only: [7]"))
    answer = devices(fake_nvml, sweep)
    assert (answer.stdout, answer.returncode) == ("", 2)
    assert "devices.only: 7 names no single device here; there are 0 (GPU-" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_leases_that_cannot_be_kept(fake_nvml: FakeNvml, sweep: Path) -> None:
    fake_nvml.gpus(1)
    answer = devices(fake_nvml, sweep, SCHEDULER_LEASES="/dev/null")
    assert (answer.stdout, answer.returncode) == ("", 2)
    assert "leases cannot be kept in /dev/null: it is a link or no folder" in answer.stderr
