"""Whole sweeps on a real Slurm: dispatcher, jobs, and what people and administrators do to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.slurm import SlurmLab
from tests.helpers.sweep_runner import SweepRunner
from tests.helpers.tiny_sweep import assert_same_as_here
from tests.helpers.waiting import wait_until

SLURM = {"kind": "slurm", "time": "5m", "lease": "10s"}


@pytest.fixture
def sweep(runner: SweepRunner, lab: SlurmLab) -> SweepRunner:
    """A runner whose sweeps run on the cluster, unless they say otherwise."""
    runner.environment |= lab.environment
    return runner


def write(sweep: SweepRunner, script: dict[str, Any], **settings: Any) -> None:
    sweep.write(script, executor={**SLURM, **settings}, devices={"idle_for": "0s"})


# --- what is refused before anything is submitted ------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"partition": "mian"}, "executor.partition: Slurm has no partition 'mian'; did you mean main?"),
        ({"gres": "gpu:h100:1"}, "executor.gres: no node of partition main has gpu:h100:1; its nodes have"),
        ({"gres": "gpu:5"}, "executor.gres: no node of partition main has gpu:5"),
        ({"gres": "mps:50"}, "executor.gres: no node of partition main has mps:50; its nodes have gpu:4"),
        ({"gres": "shard:1"}, "executor.gres: no node of partition main has shard:1; its nodes have gpu:4"),
        ({"gres": "none", "cpus": 17}, "executor.cpus: no node of partition main has 17; the largest has 16"),
        ({"constraint": "nofeature"}, "executor: Slurm takes no such job in partition main: Invalid feature"),
        ({"memory": "1TiB"}, "executor.memory: no node of partition main has so much"),
    ],
)  # fmt: skip
def test_what_no_node_has_is_refused(
    sweep: SweepRunner, lab: SlurmLab, settings: dict[str, Any], says: str
) -> None:
    write(sweep, {"a": "ok"}, **settings)
    before = lab.jobs()
    ended = sweep.run()
    assert ended.code == 2
    told = ended.err.removeprefix(f"error: {sweep.file}: ").removeprefix(f"{sweep.file}: ")
    assert says in told
    assert len(told.splitlines()) == 1
    assert lab.jobs().keys() <= before.keys()
    assert not sweep.paths.attempts("a").exists()


def test_as_many_gpus_as_a_task_is_to_have(sweep: SweepRunner) -> None:
    write(sweep, {"a": "ok"}, gres="gpu:2")
    assert sweep.run(sweep.file, "--dry-run").code == 0
    devices = {"idle_for": "0s", "per_task": 3}
    sweep.write({"a": "ok"}, executor={**SLURM, "gres": "gpu:2"}, devices=devices)
    ended = sweep.run()
    assert ended.code == 2
    assert "devices.per_task: a has 3 device(s), and each job 2" in ended.err


def test_slurm_needs_an_executor_section(sweep: SweepRunner) -> None:
    sweep.write({"a": "ok"})
    ended = sweep.run(sweep.file, "--executor", "slurm")
    assert ended.code == 2
    assert "executor: is missing" in ended.err


def test_a_dry_run_submits_nothing(sweep: SweepRunner, lab: SlurmLab) -> None:
    write(sweep, {"a": "ok"}, at_most=3)
    before = lab.jobs()
    ended = sweep.run(sweep.file, "--dry-run")
    assert ended.code == 0
    assert "Slurm, partition main: 3 job(s) at once, each with gpu:1" in ended.out
    assert lab.jobs().keys() <= before.keys()


# --- a sweep -------------------------------------------------------------------------------------


def test_a_sweep_runs_on_the_nodes(sweep: SweepRunner) -> None:
    """In a folder whose name has quotes, spaces and newlines; of a task whose name has more of them."""
    odd = "$(touch x) `id` \"q\" 'p' %j \\n"
    write(sweep, {"a": "ok", "b": ["exit 1", "ok"], odd: "ok"})
    assert sweep.run().code == 0
    assert sweep.starts() == 4
    done = sweep.done("a")
    place = done["attempts"][-1]["place"]
    assert place["node"] in ("n1", "n2")
    assert place["job"] > 0
    [start] = sweep.logged("start", "a")
    assert start["environment"]["CUDA_VISIBLE_DEVICES"] in ("0", "1", "2", "3")
    assert sweep.done("b")["attempts"][0]["cause"].startswith("exit code 1")
    assert sweep.done(odd)["exit_code"] == 0
    assert not list(sweep.paths.jobs.iterdir())
    assert sweep.states() == {"a": "completed", "b": "completed", odd: "completed"}


def test_what_was_completed_here_counts_there(sweep: SweepRunner) -> None:
    write(sweep, {"a": "ok"}, gres="none")
    assert sweep.run(sweep.file, "--executor", "local").code == 0
    assert sweep.run().code == 0
    assert sweep.starts() == 1


def test_a_dispatcher_that_was_killed_is_followed_by_one_that_takes_over(
    sweep: SweepRunner,
) -> None:
    """What runs is taken over; what waits in the queue keeps its place there."""
    write(sweep, {"a": "gate; ok", "b": "ok"}, at_most=2)
    first = sweep.start()
    go_on = sweep.reach_gate("a")
    first.kill()
    second = sweep.start()
    second.wait_for("a: attempt 1 still runs")
    go_on()
    assert second.end().code == 0
    assert sweep.starts("a") == 1
    assert sweep.done("a")["attempts"][-1]["attempt"] == 1


def test_an_attempt_that_ended_while_nobody_watched_leaves_no_files(sweep: SweepRunner) -> None:
    write(sweep, {"a": "gate; ok"})
    first = sweep.start()
    go_on = sweep.reach_gate("a")
    first.kill()
    go_on()
    sweep.wait_for_end_of_attempt("a")
    assert sweep.run().code == 0
    assert sweep.starts("a") == 1
    assert not list(sweep.paths.jobs.iterdir())


@pytest.fixture
def closed(lab: SlurmLab) -> Iterator[Callable[[], None]]:
    """A partition that starts no job; what opens it again."""

    def open_again() -> None:
        lab.call("scontrol", "update", "PartitionName=main", "State=UP")

    lab.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    yield open_again
    open_again()


def test_a_job_in_the_queue_keeps_its_place_when_its_dispatcher_dies(
    sweep: SweepRunner, closed: Callable[[], None]
) -> None:
    write(sweep, {"a": "ok"})
    first = sweep.start()
    number = first.wait_for(r"job (\d+) is in Slurm's queue")[1]
    first.kill()
    second = sweep.start()
    assert second.wait_for(r"job (\d+) is in Slurm's queue: PartitionDown")[1] == number
    closed()
    assert second.end().code == 0
    [attempt] = sweep.done("a")["attempts"]
    assert attempt["place"]["job"] == int(number)


def test_why_a_job_waits_stands_in_the_status(
    sweep: SweepRunner, closed: Callable[[], None]
) -> None:
    write(sweep, {"a": "ok"}, at_most=1)
    running = sweep.start()
    running.wait_for("is in Slurm's queue")
    assert "is in Slurm's queue: PartitionDown" in sweep.run("status", sweep.file).out
    closed()
    assert running.end().code == 0


def test_slurm_that_takes_no_job_is_asked_again(
    sweep: SweepRunner, lab: SlurmLab, closed: Callable[[], None]
) -> None:
    """As when a queue is full: here since the partition is drained, and ends what is in its queue."""
    write(sweep, {"a": "ok", "b": "ok"}, at_most=1, queue=0)
    running = sweep.start()
    running.wait_for("is in Slurm's queue")
    lab.call("scontrol", "update", "PartitionName=main", "State=DRAIN")
    running.wait_for("Slurm takes no job now: ")
    assert "Slurm takes no job now: " in sweep.run("status", sweep.file).out
    closed()
    assert running.end().code == 0
    assert sweep.starts() == 2


def test_the_gpus_of_a_job_are_recorded(sweep: SweepRunner, fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus(4)
    sweep.environment |= fake_nvml.environment({})
    write(sweep, {"a": "ok"}, gres="gpu:2")
    assert sweep.run().code == 0
    place = sweep.done("a")["attempts"][-1]["place"]
    uuids = [gpu["uuid"] for gpu in place["gpus"]]
    assert len(set(uuids)) == 2
    assert place["driver"]
    assert sweep.done("a")["device_name"] == place["gpus"][0]["name"]
    [start] = sweep.logged("start", "a")
    assert start["environment"]["CUDA_VISIBLE_DEVICES"] == ",".join(uuids)


def test_stopping_ends_a_job_with_its_descendants(sweep: SweepRunner) -> None:
    write(sweep, {"a": ["family; hang", "ok"]})
    running = sweep.start()
    sweep.wait_for_log("hangs", "a")
    assert sweep.run("stop", sweep.file, "a").code == 0
    assert running.end().code == 0
    pids = [entry["pid"] for entry in sweep.logged("child")]
    assert len(pids) == 4
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert sweep.done("a")["attempts"][0]["verdict"] == "stopped"


@pytest.mark.parametrize("who", ["runs", "waits"])
def test_a_job_that_somebody_cancels_is_tried_again(
    sweep: SweepRunner, lab: SlurmLab, who: str
) -> None:
    write(sweep, {"a": ["hang", "ok"] if who == "runs" else "ok"})
    if who == "waits":
        lab.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    running = sweep.start()
    try:
        if who == "runs":
            sweep.wait_for_log("hangs", "a")
        else:
            wait_until(lambda: "PENDING" in lab.jobs().values())
        lab.call("scancel", "--user=root")
        if who == "waits":
            running.wait_for("was CANCELLED before its attempt began")
    finally:
        lab.call("scontrol", "update", "PartitionName=main", "State=UP")
    assert running.end().code == 0
    assert sweep.starts() == (2 if who == "runs" else 1)
    first, *more = sweep.done("a")["attempts"]
    assert len(more) == (1 if who == "runs" else 0), "one that never began is no attempt"
    assert first.get("verdict") == ("stopped" if who == "runs" else None)


def test_a_worker_that_is_killed_is_tried_again(sweep: SweepRunner) -> None:
    write(sweep, {"a": ["kill 9", "ok"]})
    assert sweep.run().code == 0
    assert sweep.done("a")["attempts"][0]["signal"] == signal.SIGKILL


def test_the_other_executor_leaves_what_runs_alone(sweep: SweepRunner) -> None:
    write(sweep, {"a": "gate; ok"})
    first = sweep.start()
    go_on = sweep.reach_gate("a")
    first.send(signal.SIGTERM)
    first.end()
    ended = sweep.run(sweep.file, "--executor", "local")
    assert ended.code == 2
    assert "a: its attempt is Slurm's job" in ended.err
    go_on()
    assert sweep.run().code == 0
    assert sweep.starts("a") == 1


def test_what_waits_is_one_array_and_no_more_run_than_may(
    sweep: SweepRunner, lab: SlurmLab, closed: Callable[[], None]
) -> None:
    """The first Ctrl-C takes it out of the queue."""
    write(sweep, {f"t{n}": "gate; ok" for n in range(20)}, at_most=2, queue=50)
    running = sweep.start()
    number = running.wait_for(r"job (\d+) is in Slurm's queue")[1]
    assert lab.call("squeue", "-h", f"--jobs={number}", "-o", "%K").strip() == "0-19%2"
    closed()
    for _ in range(2):
        running.wait_for("attempt 1 started on")
    running.send(signal.SIGINT)
    wait_until(lambda: list(sweep.paths.jobs.glob("*.order")) == [])
    assert sweep.starts() == 2
    for task in {entry["task"] for entry in sweep.logged("start")}:
        sweep.reach_gate(task)()
    assert running.end().code == 130
    wait_until(lambda: "PENDING" not in lab.jobs().values())


@pytest.fixture
def small_slurm(lab: SlurmLab) -> Iterator[SlurmLab]:
    """A Slurm of its own, which takes arrays of four, and eight jobs of ours at a time."""
    small = SlurmLab("MaxArraySize=4\nMaxJobCount=16\n")
    try:
        small.start()
        yield small
    finally:
        small.stop()


def test_what_slurm_takes_at_most_is_kept_to(runner: SweepRunner, small_slurm: SlurmLab) -> None:
    runner.environment |= small_slurm.environment
    write(runner, {f"t{n}": "ok" for n in range(12)}, queue=50)
    small_slurm.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    running = runner.start()
    running.wait_for("is in Slurm's queue")
    elements = small_slurm.call("squeue", "-h", "-t", "PENDING", "-o", "%K").split()
    assert [each.partition("%")[0] for each in elements] == ["0-3", "0-3"]
    small_slurm.call("scontrol", "update", "PartitionName=main", "State=UP")
    assert running.end().code == 0
    assert runner.starts() == 12


def test_elements_that_somebody_cancels_in_the_queue_are_replaced(
    sweep: SweepRunner, lab: SlurmLab, closed: Callable[[], None]
) -> None:
    """One of them, of which Slurm keeps no record, and then all that are left."""
    write(sweep, {f"t{n}": "ok" for n in range(4)})
    running = sweep.start()
    number = running.wait_for(r"job (\d+) is in Slurm's queue")[1]
    lab.call("scancel", f"{number}_2")
    pending = ("squeue", "-h", "-t", "PENDING", "-o", "%K")
    wait_until(lambda: len(lab.call(*pending).split()) == 2)
    lab.call("scancel", number)
    for _ in range(3):
        running.wait_for("was CANCELLED before its attempt began")
    closed()
    assert running.end().code == 0
    assert sweep.starts() == 4


@pytest.mark.long
def test_a_full_controller_is_waited_for(runner: SweepRunner, small_slurm: SlurmLab) -> None:
    """Eleven jobs of others' leave room for fewer than are ours: sbatch itself asks again and again."""
    runner.environment |= small_slurm.environment
    others = ("--hold", "--comment=others", "--output=/dev/null", "--wrap=true")
    for _ in range(11):
        small_slurm.call("sbatch", *others)
    write(runner, {f"t{n}": "ok" for n in range(8)}, queue=50)
    running = runner.start()
    said = running.wait_for("Slurm takes no job now: (.*)")[1]
    assert "temporarily unable to accept job" in said
    small_slurm.call("scancel", "--state=PENDING", "--user=root")
    assert running.end().code == 0
    assert runner.starts() == 8


@pytest.mark.long
def test_the_worker_that_ships_makes_the_same_as_on_one_machine(sweep: SweepRunner) -> None:
    assert_same_as_here(sweep, {**SLURM, "gres": "none"})
