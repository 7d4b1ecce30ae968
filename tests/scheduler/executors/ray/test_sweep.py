"""Whole sweeps on a real Ray: dispatcher, actors, and files that come home."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.sweep_runner import SweepRunner
from tests.helpers.tiny_sweep import assert_same_as_here
from tests.helpers.waiting import wait_until
from tests.scheduler.executors.ray.conftest import RaySweep

# --- what is refused before anything is started --------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gpus": 5}, "executor.gpus: no node of Ray has 5 GPU(s); the largest has 4"),
        ({"gpus": "none", "cpus": 17}, "executor.cpus: no node of Ray has 17; the largest has 16"),
        ({"memory": "100TiB"}, "executor.memory: no node of Ray has 1"),
        ({"address": "127.0.0.1:1"}, "executor.address: nothing answers at 127.0.0.1:1 (Connection refused)"),
        ({"address": "here"}, "executor.address: must be the head's address and port"),
        ({"gpus": 1.5}, "executor.gpus: must be how many GPUs each attempt has"),
        ({"lease": "2m"}, "executor.lease: must be from 5s to 50s"),
        ({"time": "4h"}, "executor.time: unknown key"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused(
    on_ray: RaySweep, runner: SweepRunner, settings: dict[str, Any], says: str
) -> None:
    on_ray.write({"a": "ok"}, **settings)
    ended = runner.run()
    assert ended.code == 2
    told = ended.err.removeprefix("error: ").removeprefix(f"{runner.file}: ")
    assert told.startswith(says)
    assert len(told.splitlines()) == 1
    assert not runner.paths.attempts("a").exists()


def test_without_the_package_one_sentence_says_so(on_ray: RaySweep, runner: SweepRunner) -> None:
    folder = runner.folder / "no ray"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys; sys.modules['ray'] = None")
    on_ray.write({"a": "ok"})
    runner.environment["PYTHONPATH"] = f"{folder}{os.pathsep}{runner.environment['PYTHONPATH']}"
    ended = runner.run()
    assert ended.code == 2
    assert "the package ray is not here; pip install 'diffusion-sweeps[ray]'" in ended.err


def test_ray_needs_an_executor_section(on_ray: RaySweep, runner: SweepRunner) -> None:
    runner.write({"a": "ok"})
    ended = runner.run(runner.file, "--executor", "ray")
    assert ended.code == 2
    assert "executor: is missing; for --executor ray it says at least" in ended.err


def test_as_many_gpus_as_a_task_is_to_have(on_ray: RaySweep, runner: SweepRunner) -> None:
    on_ray.write_with({"idle_for": "0s", "per_task": 3}, {"a": "ok"}, gpus=2)
    ended = runner.run()
    assert ended.code == 2
    assert "devices.per_task: a has 3 device(s), and each job 2 (executor.gpus)" in ended.err


# --- a sweep -------------------------------------------------------------------------------------


def test_a_sweep_runs_on_the_nodes(on_ray: RaySweep, runner: SweepRunner) -> None:
    """Of a task whose name has quotes and spaces; GPUs are in order, whatever Ray's order is."""
    odd = "$(touch x) `id` \"q\" 'p' %j \\n"
    on_ray.write({"a": "ok", "b": ["exit 1", "ok"], odd: "ok"}, gpus=2, cpus=2)
    runner.environment.pop("OMP_NUM_THREADS", None)
    assert runner.run().code == 0
    assert runner.starts() == 4
    place = runner.done("a")["attempts"][-1]["place"]
    assert place["node"] == socket.gethostname()
    [start] = runner.logged("start", "a")
    visible = start["environment"]["CUDA_VISIBLE_DEVICES"].split(",")
    assert len(visible) == 2
    assert visible == sorted(visible)
    assert start["environment"]["OMP_NUM_THREADS"] == "2"
    assert runner.done("b")["attempts"][0]["cause"].startswith("exit code 1")
    assert runner.states() == {"a": "completed", "b": "completed", odd: "completed"}
    assert not list(runner.paths.jobs.iterdir())
    assert not list(on_ray.scratch.iterdir())


def test_without_a_gpu_none_is_visible(on_ray: RaySweep, runner: SweepRunner) -> None:
    """Ray would show all of them; and its own number of threads is none of the worker's."""
    on_ray.write({"a": "ok"}, gpus="none")
    runner.environment.pop("OMP_NUM_THREADS", None)
    assert runner.run().code == 0
    [start] = runner.logged("start", "a")
    assert start["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    assert "OMP_NUM_THREADS" not in start["environment"]


def test_parts_of_a_gpu(on_ray: RaySweep, runner: SweepRunner) -> None:
    on_ray.write({"a": "gate; ok", "b": "gate; ok"}, gpus=0.5)
    assert "16 attempt(s) at once, each with 0.5 GPU(s)" in runner.run(runner.file, "--dry-run").out
    running = runner.start()
    gates = [runner.reach_gate(task) for task in ("a", "b")]
    for go_on in gates:
        go_on()
    assert running.end().code == 0


def test_the_gpus_of_an_attempt_are_recorded(
    on_ray: RaySweep, runner: SweepRunner, fake_nvml: FakeNvml
) -> None:
    fake_nvml.gpus(4)
    runner.environment |= fake_nvml.environment({})
    on_ray.write({"a": "ok"}, gpus=2)
    assert runner.run().code == 0
    place = runner.done("a")["attempts"][-1]["place"]
    uuids = [gpu["uuid"] for gpu in place["gpus"]]
    assert len(set(uuids)) == 2
    assert place["driver"]
    assert runner.done("a")["device_name"] == place["gpus"][0]["name"]
    [start] = runner.logged("start", "a")
    assert start["environment"]["CUDA_VISIBLE_DEVICES"] == ",".join(uuids)


def test_logs_and_results_come_home_while_the_task_runs(
    on_ray: RaySweep, runner: SweepRunner
) -> None:
    row = json.dumps({"row": 1})
    on_ray.write({"a": f"print hello; results {row}; gate; ok"}, gpus="none")
    running = runner.start()
    go_on = runner.reach_gate("a")
    wait_until(lambda: runner.paths.log("a").exists() and "hello" in runner.log("a"))
    wait_until(lambda: runner.paths.results("a").exists() and row in results(runner))
    go_on()
    assert running.end().code == 0
    assert results(runner) == f"{row}\n"


def results(runner: SweepRunner) -> str:
    return runner.paths.results("a").read_text()


def test_results_of_an_earlier_attempt_go_along(on_ray: RaySweep, runner: SweepRunner) -> None:
    on_ray.write({"a": ["results first; exit 1", "results second; ok"]}, gpus="none")
    runner.file.write_text(runner.file.read_text() + "\n")
    assert runner.run().code == 0
    assert results(runner) == "first\nsecond\n"


def test_a_dispatcher_that_was_killed_is_followed_by_one_that_takes_over(
    on_ray: RaySweep, runner: SweepRunner
) -> None:
    """Meanwhile files come home, and those that wait for Ray keep their place."""
    on_ray.write({"a": "gate; print said; ok", "b": "ok"}, at_most=2, gpus=4)
    first = runner.start()
    go_on = runner.reach_gate("a")
    wait_until(lambda: runner.paths.attempts("a").stat().st_size)
    first.kill()
    second = runner.start()
    second.wait_for("a: attempt 1 still runs")
    go_on()
    assert second.end().code == 0
    assert runner.starts("a") == 1
    assert "said" in runner.log("a")


def test_why_an_attempt_waits_stands_in_the_status(on_ray: RaySweep, runner: SweepRunner) -> None:
    on_ray.write({"a": "gate; ok", "b": "gate; ok", "c": "ok"}, at_most=3, gpus=4)
    running = runner.start()
    gates = [runner.reach_gate(task) for task in ("a", "b")]
    running.wait_for("its actor waits: Ray has 0 of 8 GPUs free")
    assert "its actor waits: Ray has 0 of 8" in runner.run("status", runner.file).out
    for go_on in gates:
        go_on()
    assert running.end().code == 0


def test_stopping_ends_an_attempt_with_its_descendants(
    on_ray: RaySweep, runner: SweepRunner
) -> None:
    on_ray.write({"a": ["family; hang", "ok"]})
    running = runner.start()
    runner.wait_for_log("hangs", "a")
    assert runner.run("stop", runner.file, "a").code == 0
    assert running.end().code == 0
    pids = [entry["pid"] for entry in runner.logged("child")]
    assert len(pids) == 4
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert runner.done("a")["attempts"][0]["verdict"] == "stopped"


def test_a_worker_that_is_killed_is_tried_again(on_ray: RaySweep, runner: SweepRunner) -> None:
    on_ray.write({"a": ["kill 9", "ok"]})
    assert runner.run().code == 0
    assert runner.done("a")["attempts"][0]["signal"] == signal.SIGKILL


def test_the_other_executor_leaves_what_runs_alone(on_ray: RaySweep, runner: SweepRunner) -> None:
    on_ray.write({"a": "gate; ok"})
    first = runner.start()
    go_on = runner.reach_gate("a")
    wait_until(lambda: runner.paths.attempts("a").stat().st_size)
    first.send(signal.SIGTERM)
    first.end()
    ended = runner.run(runner.file, "--executor", "local")
    assert ended.code == 2
    assert "a: its attempt is an actor of Ray's; run the sweep with --executor ray" in ended.err
    go_on()
    assert runner.run().code == 0
    assert runner.starts("a") == 1


def test_an_attempt_that_waits_is_not_begun_twice_after_a_crash(
    on_ray: RaySweep, runner: SweepRunner
) -> None:
    """Dispatcher and driver are both killed; the next dispatcher finds the actor that waits for Ray."""
    on_ray.write({"a": "gate; ok", "b": "gate; ok", "c": "ok"}, at_most=3, gpus=4)
    first = runner.start()
    gates = [runner.reach_gate(task) for task in ("a", "b")]
    # else the next takes over what it does not know to have begun, and says that it starts
    wait_until(lambda: all(runner.paths.attempts(task).stat().st_size for task in ("a", "b")))
    first.wait_for("its actor waits")
    drivers = {path.read_text() for path in runner.paths.jobs.glob("*.driver")}
    first.kill()
    for pid in drivers:
        os.kill(int(pid), signal.SIGKILL)
    second = runner.start()
    second.wait_for("a: attempt 1 still runs")
    for go_on in gates:
        go_on()
    assert second.end().code == 0
    assert [runner.starts(task) for task in ("a", "b", "c")] == [1, 1, 1]


@pytest.mark.long
def test_the_worker_that_ships_makes_the_same_as_on_one_machine(
    on_ray: RaySweep, runner: SweepRunner
) -> None:
    assert_same_as_here(runner, {**on_ray.executor, "gpus": "none"})
