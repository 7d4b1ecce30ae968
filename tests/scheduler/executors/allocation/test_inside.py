"""Whole sweeps inside of one job of a real Slurm, on a node of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.slurm import SlurmLab
from tests.helpers.sweep_runner import SweepRunner
from tests.helpers.waiting import wait_until
from tests.scheduler.executors.allocation.conftest import RUN, Jobs

ONE = {"idle_for": "0s", "cpu_slots": 1}
REPOSITORY = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def _this_python(runner: SweepRunner) -> None:
    path = f"{Path(sys.executable).parent}:{runner.environment['PATH']}"
    runner.environment["PATH"] = path


# --- what is refused -----------------------------------------------------------------------------


def test_outside_of_a_job_it_says_so(runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    ended = runner.run(runner.file, "--inside-slurm")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "--inside-slurm: this process is in no job of Slurm's" in ended.err
    assert not runner.starts()


@pytest.mark.parametrize(
    ("options", "devices", "says"),
    [
        (["-t", "1"], ONE, "what runs is stopped 1 min 00 s before that: give"),
        (["-t", "9"], {"idle_for": "0s"}, "has no GPU; ask for some (#SBATCH --gres=gpu:4)"),
    ],
)
def test_a_job_that_is_none_for_a_sweep(
    runner: SweepRunner, jobs: Jobs, options: list[str], devices: dict[str, object], says: str
) -> None:
    runner.write({"a": "ok"}, devices=devices)
    if "cpu_slots" not in devices:
        runner.write_text(runner.file.read_text().replace("  cpu_slots: 2\n", ""))
    job = jobs.submit(*options)
    assert job.end() == 2
    assert says in job.said()
    assert len(job.said().splitlines()) == 1
    assert not runner.starts()


def test_gpus_that_slurm_numbers_in_another_way_are_not_guessed(
    runner: SweepRunner, jobs: Jobs, fake_nvml: FakeNvml
) -> None:
    """Of eight that the driver shows, Slurm has four: its 0 may be any."""
    mine = fake_nvml.gpus(8)[5].uuid
    runner.environment |= fake_nvml.environment({})
    runner.write({"a": "ok"}, devices={"idle_for": "0s"})
    job = jobs.submit("-t", "9", "--gres=gpu:1")
    assert job.end() == 2
    assert "Slurm numbers 4 of this node's 8" in job.said()
    named = f"export CUDA_VISIBLE_DEVICES={mine}\n{RUN}"
    assert jobs.submit("-t", "9", "--gres=gpu:1", last=named).end() == 0
    [start] = runner.logged("start")
    assert start["environment"]["CUDA_VISIBLE_DEVICES"] == mine


# --- a sweep -------------------------------------------------------------------------------------


def test_it_uses_the_gpus_of_the_job(runner: SweepRunner, jobs: Jobs, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(4)
    runner.environment |= fake_nvml.environment({})
    runner.write(dict.fromkeys("abcdef", "sleep 0.2; ok"), devices={"idle_for": "0s"})
    job = jobs.submit("-t", "9", "--gres=gpu:2")
    assert job.end() == 0
    assert f"in Slurm's job {job.number}" in job.said()
    used = {entry["environment"]["CUDA_VISIBLE_DEVICES"] for entry in runner.logged("start")}
    assert len(used) == 2
    assert runner.starts() == 6


def test_a_job_without_gpus_uses_none_of_its_node(
    runner: SweepRunner, jobs: Jobs, fake_nvml: FakeNvml
) -> None:
    fake_nvml.gpus(4)
    runner.environment |= fake_nvml.environment({})
    runner.write({"a": "ok"}, devices=ONE)
    assert jobs.submit("-t", "9").end() == 0
    assert runner.done("a")["device"] == "cpu:0"


def test_after_sigusr1_what_runs_may_end_and_the_next_job_does_the_rest(
    runner: SweepRunner, jobs: Jobs, lab: SlurmLab
) -> None:
    runner.write({"a": "gate; ok", "b": "ok"}, devices=ONE)
    job = jobs.submit("-t", "9")
    go_on = runner.reach_gate("a")
    lab.call("scancel", "--batch", "--signal=USR1", job.number)
    job.wait_for(r"ends soon \(SIGUSR1\): nothing new is started, 1 running attempt")
    waits = runner.run("status", runner.file).out
    assert f"nothing new is started: Slurm's job {job.number} ends soon" in " ".join(waits.split())
    go_on()
    assert job.end() == 75
    assert runner.starts() == 1
    left = f"left for the time limit of Slurm's job {job.number}; the next job goes on from here"
    assert job.said().splitlines()[-1].startswith(left)
    assert jobs.submit("-t", "9").end() == 0
    assert runner.states() == {"a": "completed", "b": "completed"}
    assert runner.starts() == 2


def test_a_job_that_somebody_cancels_stops_what_runs_uncharged(
    runner: SweepRunner, jobs: Jobs, lab: SlurmLab
) -> None:
    runner.write(
        {"a": ["results first; tidy second", "ok"]},
        devices=ONE,
        worker={"reuses_results": True},
        retries={"max_attempts": 1},
    )
    job = jobs.submit("-t", "9")
    runner.wait_for_log("hangs", "a")
    lab.call("scancel", job.number)
    job.wait_for("the next job goes on from here")
    job.end()
    assert jobs.submit("-t", "9").end() == 0
    first, second = runner.done("a")["attempts"]
    assert first["verdict"] == "stopped"
    assert second["attempt"] == 2
    assert runner.paths.results("a").read_text().split() == ["first", "second"]


def test_a_job_that_got_no_further_asks_for_no_other(
    runner: SweepRunner, jobs: Jobs, lab: SlurmLab
) -> None:
    """Else jobs that submit their successors would do so for ever."""
    runner.write({"a": "hang"}, devices=ONE)
    job = jobs.submit("-t", "9")
    runner.wait_for_log("hangs", "a")
    lab.call("scancel", "--batch", "--signal=TERM", job.number)
    assert job.end() == 1
    assert "the next job would get no further; give jobs more time" in job.said().splitlines()[-1]


# --- on several nodes ----------------------------------------------------------------------------


def test_on_several_nodes_each_attempt_is_a_step_with_a_gpu_of_its_own(
    runner: SweepRunner, jobs: Jobs, fake_nvml: FakeNvml
) -> None:
    fake_nvml.gpus(4)
    runner.environment |= fake_nvml.environment({})
    runner.write(
        {**dict.fromkeys("abc", "gate; ok"), "d": ["exit 1", "ok"]}, devices={"idle_for": "0s"}
    )
    job = jobs.submit("-t", "9", "--nodes=2", "--ntasks-per-node=4", "--gres=gpu:2")
    gates = [runner.reach_gate(task) for task in "abc"]
    starts = [runner.logged("start", task)[0] for task in "abc"]
    places = [runner.attempt(task)["place"] for task in "abc"]
    for go_on in gates:
        go_on()
    assert job.end() == 0
    assert {place["node"] for place in places} == {"n1", "n2"}
    at = {
        (place["node"], start["environment"]["CUDA_VISIBLE_DEVICES"])
        for place, start in zip(places, starts, strict=True)
    }
    assert len(at) == 3
    assert all(start["environment"]["CUDA_VISIBLE_DEVICES"].startswith("GPU-") for start in starts)
    assert "4 attempt(s) at once on 2 nodes; in Slurm's job" in job.said()
    assert runner.done("d")["attempts"][0]["verdict"] == "failed"
    assert not list(runner.paths.jobs.iterdir())


def test_what_runs_on_several_nodes_is_stopped_uncharged(
    runner: SweepRunner, jobs: Jobs, lab: SlurmLab
) -> None:
    runner.write(
        {"a": ["results first; tidy second", "ok"]},
        devices=ONE,
        worker={"reuses_results": True},
        retries={"max_attempts": 1},
    )
    job = jobs.submit("-t", "9", "--nodes=2")
    runner.wait_for_log("hangs", "a")
    lab.call("scancel", "--batch", "--signal=TERM", job.number)
    assert job.end() == 75
    assert jobs.submit("-t", "9").end() == 0
    first, second = runner.done("a")["attempts"]
    assert (first["verdict"], first["cause"]) == ("stopped", f"Slurm ends job {job.number}")
    assert second["attempt"] == 2
    assert runner.paths.results("a").read_text().split() == ["first", "second"]


def test_several_nodes_without_room(runner: SweepRunner, jobs: Jobs) -> None:
    runner.write({"a": "ok"}, devices={"idle_for": "0s", "per_task": 3, "cpu_slots": 1})
    runner.write_text(runner.file.read_text().replace("  cpu_slots: 1\n", ""))
    job = jobs.submit("-t", "9", "--nodes=2", "--gres=gpu:2")
    assert job.end() == 2
    assert "has no room for an attempt (n1: 2 GPU(s), n2: 2 GPU(s))" in job.said()


# --- the time limit itself -----------------------------------------------------------------------


@pytest.mark.long
def test_the_job_of_the_page_leaves_in_time_and_submits_its_successor(
    runner: SweepRunner, jobs: Jobs, lab: SlurmLab, tmp_path: Path
) -> None:
    """A job of two minutes stops what runs after one, without being told by anybody."""
    page = (REPOSITORY / "docs" / "cluster.md").read_text()
    [script] = re.findall(r"```\n(#!/bin/bash\n(?:(?!```)[^\n]*\n)*?if .*\n)```", page)
    program = script[script.index("python -m") :].replace(
        "sweeps/sd15.yaml", "runner.yaml --root root"
    )
    assert RUN.removeprefix("exec ") == program.splitlines()[0]
    runner.write(
        {"a": ["results first; tidy second", "results third; ok"]},
        devices=ONE,
        worker={"reuses_results": True},
        retries={"max_attempts": 1},
    )
    again = program.replace(
        "sbatch sd15.sh", f'sbatch -t 9 --output={tmp_path}/job.out "{tmp_path}/job.sh"'
    )
    job = jobs.submit("-t", "2", last=again)
    assert job.end(patience=180.0) == 0
    wait_until(lambda: runner.paths.done("a").exists())
    first, _ = runner.done("a")["attempts"]
    assert first["verdict"] == "stopped"
    assert first["cause"] == f"the time of Slurm's job {job.number} is over"
    assert runner.paths.results("a").read_text().split() == ["first", "second", "third"]
