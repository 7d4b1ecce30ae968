"""Parts of GPUs, which Slurm calls mps and shard: what runs on them, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scheduler.config.cluster.settings import SlurmSettings
from scheduler.config.loader import read_sweep
from scheduler.dispatch.wishes.reload import CannotReload, read_anew
from scheduler.executors.cluster.place import node_environment
from scheduler.executors.slurm.check import PROGRAMS, SlurmUnusable, find_slots
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.slurm import SlurmLab, why_no_slurm
from tests.helpers.sweep_runner import SweepRunner
from tests.scheduler.executors.allocation.conftest import Jobs

SLURM = {"kind": "slurm", "time": "5m", "lease": "10s"}
A_NODE_HAS = {"mps": 400, "shard": 8}
with_mps = pytest.mark.parametrize("divided", ["mps"], indirect=True)
OF_OURS = "matrix: {pipe: [TINY_SD15], sched: [DDIM], steps: [3, 4]}\n"


@pytest.fixture(scope="module")
def divided(request: pytest.FixtureRequest) -> Iterator[SlurmLab]:
    """A Slurm whose nodes' four GPUs are given out in parts, too; Slurm mixes the kinds up if it has both."""
    if (why := why_no_slurm()) is not None:
        pytest.skip(why)
    lab = SlurmLab(parts={request.param: A_NODE_HAS[request.param]})
    try:
        lab.start()
        yield lab
    finally:
        lab.stop()


@pytest.fixture
def sweep(runner: SweepRunner, divided: SlurmLab) -> SweepRunner:
    runner.environment |= divided.environment
    return runner


@pytest.mark.parametrize(
    ("divided", "gres", "percentage"),
    [("mps", "mps:50", "50"), ("shard", "shard:1", None)],
    indirect=["divided"],
    scope="module",
)
def test_two_attempts_run_on_parts_of_one_gpu(
    sweep: SweepRunner, fake_nvml: FakeNvml, gres: str, percentage: str | None
) -> None:
    fake_nvml.gpus(4, name="GPU X")
    sweep.environment |= fake_nvml.environment({})
    tasks = ("a", "b")
    sweep.write(dict.fromkeys(tasks, "gate; ok"), executor={**SLURM, "gres": gres})
    running = sweep.start()
    for go_on in [sweep.reach_gate(task) for task in tasks]:
        go_on()
    assert running.end().code == 0
    places = [sweep.done(task)["attempts"][-1]["place"] for task in tasks]
    assert [place["node"] for place in places] == ["n1", "n1"]
    [[first], [second]] = [place["gpus"] for place in places]
    assert first == second
    assert first["name"] == sweep.done("a")["device_name"] == "GPU X"
    assert sweep.done("a")["device"].startswith("slurm:"), "no slot of a CPU"
    for start in sweep.logged("start"):
        assert start["environment"]["CUDA_VISIBLE_DEVICES"] == first["uuid"]
        assert start["environment"].get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE") == percentage


@with_mps
@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"gres": "mps:150"}, "not available (a part must be of one GPU)"),
        ({"gres": "mps:401"}, "executor.gres: no node of partition main has mps:401; its nodes have"),
        ({"gres": "mps:50", "worker": {"timed": True}},
         "executor.gres: mps:50 is a part of a GPU, and a measures speed, which others on the same GPU"),
        ({"gres": "mps:50", "devices": {"per_task": 50}},
         "executor.gres: mps:50 is a part of a GPU, and a has 50 whole devices (devices.per_task)"),
    ],
)  # fmt: skip
def test_what_is_no_part_of_a_gpu_is_refused(
    sweep: SweepRunner, divided: SlurmLab, sections: dict[str, Any], says: str
) -> None:
    executor = {**SLURM, "gres": sections.pop("gres")}
    sweep.write({"a": "ok"}, executor=executor, **sections)
    before = divided.jobs()
    ended = sweep.run()
    assert ended.code == 2
    told = ended.err.removeprefix(f"error: {sweep.file}: ").removeprefix(f"{sweep.file}: ")
    assert says in told
    assert len(told.splitlines()) == 1
    assert divided.jobs().keys() <= before.keys()


@with_mps
def test_this_projects_worker_has_parts_only_without_timing(sweep: SweepRunner) -> None:
    text = f"{OF_OURS}executor: {{kind: slurm, time: 5m, gres: 'mps:50'}}\nsearch:\n"
    sweep.write_text(f"{text}  timing: off\n")
    assert sweep.run(sweep.file, "--dry-run").code == 0
    sweep.write_text(f"{text}  timing: {{repeats: 2}}\n")
    ended = sweep.run()
    assert ended.code == 2
    assert "TINY_SD15_DDIM_3 and 1 more measure speed" in ended.err
    assert "a whole GPU, or measure no speed (search: {timing: off})" in ended.err


@pytest.mark.parametrize(
    ("divided", "gres"),
    [("mps", "mps:50"), ("shard", "shard:1")],
    indirect=["divided"],
    scope="module",
)
def test_a_large_job_that_has_a_part_measures_no_speed(
    sweep: SweepRunner, divided: SlurmLab, fake_nvml: FakeNvml, tmp_path: Path, gres: str
) -> None:
    fake_nvml.gpus(4)
    sweep.environment |= fake_nvml.environment({})
    sweep.environment["PATH"] = f"{Path(sys.executable).parent}:{sweep.environment['PATH']}"
    jobs = Jobs(divided, sweep, tmp_path)
    sweep.write({"a": "ok"}, worker={"timed": True}, devices={"idle_for": "0s"})
    job = jobs.submit("-t", "9", f"--gres={gres}")
    assert job.end() == 2
    assert "has a part of a GPU, and a measures speed" in job.said()
    sweep.write({"a": "ok"}, devices={"idle_for": "0s"})
    assert jobs.submit("-t", "9", f"--gres={gres}").end() == 0


# --- without a Slurm -----------------------------------------------------------------------------


def test_a_reload_brings_no_timing_to_parts(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"{OF_OURS}search: {{timing: off}}\n")
    today = replace(read_sweep(file), on_parts=True)
    assert read_anew(file, (), today, today.fingerprint)[1].on_parts
    file.write_text(OF_OURS)
    with pytest.raises(CannotReload, match="TINY_SD15_DDIM_3 and 1 more measure speed"):
        read_anew(file, (), today, read_sweep(file).fingerprint)


def test_what_the_node_says_of_mps_holds_there() -> None:
    here = {"CUDA_MPS_PIPE_DIRECTORY": "/here", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=2G"}
    there = {"CUDA_MPS_PIPE_DIRECTORY": "/there", "CUDA_VISIBLE_DEVICES": "0", "OTHER": "1"}
    environment = node_environment(here, there, {"gpus": []})
    assert environment == {**here, "CUDA_MPS_PIPE_DIRECTORY": "/there", "CUDA_VISIBLE_DEVICES": "0"}


@pytest.mark.parametrize(
    ("has", "gres", "is_refused", "at_once"),
    [
        ("gpu:h100:4(S:0-1),mps:400", "mps:50", False, 8),
        ("gpu:h100:4(S:0-1),mps:400", "mps:60", False, 4),
        ("gpu:h100:4,gpu:a100:2,mps:h100:400,mps:a100:200", "mps:a100:50", False, 4),
        ("gpu:2,shard:8", "shard", False, 8),
        # As much as one of them has that has more than the others, or as none has.
        ("gpu:2,mps:300", "mps:200", False, 1),
        ("gpu:2,mps:200", "mps:200", True, 0),
    ],
)
def test_room_for_parts(  # what sinfo says of typed GPUs and of uneven parts is made up
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has: str,
    gres: str,
    is_refused: bool,
    at_once: int,
) -> None:
    says = {
        "sinfo": f'[ "$3" = %P ] && echo "main*" || printf "main\\t1\\t16\\t2000\\t{has}\\tidle\\n"'
    }
    if is_refused:
        says["sbatch"] = "echo 'Requested node configuration is not available' >&2; exit 1"
    for program in PROGRAMS:
        (tmp_path / program).write_text(f"#!/bin/sh\n{says.get(program, 'exit 0')}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    settings = SlurmSettings(60.0, gres=gres, queue=0)
    if is_refused:
        with pytest.raises(SlurmUnusable, match="a part must be of one GPU"):
            find_slots(settings)
    else:
        slots = find_slots(settings).slots
        assert len(slots) == at_once
        assert not any(slot.id.startswith("cpu:") for slot in slots)
