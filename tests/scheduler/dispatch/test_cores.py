"""Attempts have cores of their own: bound to them, told how many threads that makes, and on record."""

from __future__ import annotations

import os
from typing import Any

import pytest

from scheduler.config.units import format_cpus, parse_cpus
from scheduler.devices.cores.machine import read_machine
from scheduler.devices.model import Device
from scheduler.executors.worker_process import worker_environment
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.sweep_runner import SweepRunner

MACHINE = read_machine(os.sched_getaffinity(0))
ALL = sorted(os.sched_getaffinity(0))
two_cores = pytest.mark.skipif(len(MACHINE.cores) < 2, reason="one core cannot be shared out")
QUICK = {"idle_for": "0s", "min_free_memory": "1MiB"}


def started(runner: SweepRunner, task: str) -> dict[str, Any]:
    return runner.logged("start", task)[-1]


def run_both(runner: SweepRunner, **environment: str) -> str:
    """Run tasks a and b, both of which wait at a gate, at the same time; return what was printed."""
    running = runner.start(**environment)
    opened = [runner.reach_gate(task) for task in "ab"]
    for let_through in opened:
        let_through()
    ended = running.end()
    assert ended.code == 0, ended.out + ended.err
    return ended.out


@two_cores
def test_two_slots_share_the_cores_out(runner: SweepRunner) -> None:
    runner.write({"a": "gate; ok", "b": "gate; ok"})
    said = run_both(runner)
    a, b = (set(started(runner, task)["cpus"]) for task in "ab")
    assert (a & b, a | b) == (set(), set(ALL))
    threads = started(runner, "a")["environment"]["OMP_NUM_THREADS"]
    assert threads == started(runner, "b")["environment"]["OMP_NUM_THREADS"]
    assert 1 <= int(threads) <= min(len(a), len(b))
    # It is written down, and shown.
    done = runner.done("a")
    assert parse_cpus(done["cores"]) == parse_cpus(done["attempts"][0]["cores"]) == a
    cores = {device["device"]: device["cores"] for device in runner.status()["devices"]}
    assert cores[done["device"]] == done["cores"]
    assert {d["cores"] for d in runner.journal("dispatcher_started")[0]["devices"]} == {
        *cores.values()
    }
    assert (
        f"  device cpu:0: CPU slot 0, cores {cores['cpu:0']}\n"
        in runner.run(runner.file, "--dry-run").out
    )
    assert " each\n" in said.splitlines(keepends=True)[0]


@two_cores
def test_off_binds_nobody(runner: SweepRunner) -> None:
    runner.write({"a": "ok"}, devices={"cores": "off"})
    assert runner.run().code == 0
    assert started(runner, "a")["cpus"] == ALL
    assert started(runner, "a")["environment"]["OMP_NUM_THREADS"] == str(max(1, len(ALL) // 2))
    assert runner.done("a")["cores"] is None
    assert "cores" not in runner.done("a")["attempts"][0]


def test_more_cores_than_there_are(runner: SweepRunner) -> None:
    runner.write({"a": "ok"}, devices={"cores": 4000})
    for words in ([], ["--dry-run"]):
        ended = runner.run(runner.file, *words)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("devices.cores: 4000 for each of 2 device(s), but only ")
    assert runner.starts() == 0


@two_cores
def test_an_attempt_that_is_taken_over_keeps_its_cores(runner: SweepRunner) -> None:
    runner.write({"a": ["gate; exit 1", "ok"]}, devices={"cores": 1})
    running = runner.start()
    let_through = runner.reach_gate("a")
    running.kill()
    runner.file.write_text(runner.file.read_text().replace("cores: 1", "cores: off"))
    running = runner.start()
    running.wait_for("a: attempt 1 still runs")
    pid, own = started(runner, "a")["pid"], started(runner, "a")["cpus"]
    assert os.sched_getaffinity(pid) == set(own) != set(ALL)
    let_through()
    assert running.end().code == 0
    first, second = runner.done("a")["attempts"]
    assert (first["cores"], "cores" in second) == (format_cpus(own), False)
    assert started(runner, "a")["cpus"] == ALL


# --- GPUs ------------------------------------------------------------------------------------------


def gpu_environment(runner: SweepRunner, fake_nvml: FakeNvml) -> dict[str, str]:
    return fake_nvml.environment({}) | {"SCHEDULER_LEASES": str(runner.folder / "leases")}


@two_cores
def test_a_gpu_gets_the_cores_that_the_driver_calls_near(
    runner: SweepRunner, fake_nvml: FakeNvml
) -> None:
    first, last = MACHINE.cores[0].cpus[0], MACHINE.cores[-1].cpus[0]
    crossed = fake_nvml.gpus(2)
    crossed[0].near, crossed[1].near = (last, last + 1), (first, first + 1)
    fake_nvml.write()
    runner.write({"a": "gate; ok", "b": "gate; ok"}, devices={"cores": 1, **QUICK})
    run_both(runner, **gpu_environment(runner, fake_nvml))
    cpus = {runner.done(task)["device"]: started(runner, task)["cpus"] for task in "ab"}
    assert last in cpus[crossed[0].uuid]
    assert first in cpus[crossed[1].uuid]


@two_cores
def test_sweeps_on_different_gpus_do_not_meet_on_a_core(
    runner: SweepRunner, fake_nvml: FakeNvml
) -> None:
    """Nor where the driver does not tell which cores are near, as in many virtual machines."""
    fake_nvml.gpus(2)
    met = []
    for gpu, task in enumerate("ab"):
        runner.write({task: "ok"}, devices={"only": [gpu], **QUICK})
        assert runner.run(**gpu_environment(runner, fake_nvml)).code == 0
        met.append(set(started(runner, task)["cpus"]))
    assert met[0].isdisjoint(met[1])
    assert all(met)


GPU = Device("GPU-1", "a GPU", "0", "gpu")
SLOT = Device("cpu:0", "CPU slot 0", "cpu:0", "cpu")


@pytest.mark.parametrize(
    ("device", "threads", "own", "inherited", "omp", "mkl"),
    [
        (GPU, 3, {}, {}, "3", "3"),
        (GPU, None, {}, {}, None, None),
        (GPU, 3, {"OMP_NUM_THREADS": "7"}, {}, "7", None),
        (GPU, 3, {}, {"OMP_NUM_THREADS": "5"}, "5", None),
        (GPU, 3, {"MKL_NUM_THREADS": "7"}, {"OMP_NUM_THREADS": "5"}, "5", "7"),
        # Times on a CPU depend on the number: the same for all, unless the sweep itself says another.
        (SLOT, 3, {}, {"OMP_NUM_THREADS": "5"}, "3", "3"),
        (SLOT, 3, {"OMP_NUM_THREADS": "7"}, {}, "7", None),
    ],
)
def test_the_number_of_threads_gives_way_to_wishes(
    device: Device,
    threads: int | None,
    own: dict[str, str],
    inherited: dict[str, str],
    omp: str | None,
    mkl: str | None,
) -> None:
    environment = worker_environment([device], threads, own, inherited)
    assert environment.get("OMP_NUM_THREADS") == omp
    assert environment.get("MKL_NUM_THREADS") == mkl
