"""What breaks on a real Ray: its nodes, its head, actors, drivers. No task runs twice at once.

How long most of it takes depends on when Ray notices, and on the machine's pace: pytest --long runs it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.devices.processes import read_stat
from tests.helpers.ray_lab import RayLab, why_no_ray
from tests.helpers.sweep_runner import Running, SweepRunner
from tests.helpers.waiting import wait_until
from tests.scheduler.executors.ray.conftest import RaySweep

NOTICED = (
    150.0  # seconds in which Ray takes a node for dead that does not answer, and we an attempt
)


def ancestors(runner: SweepRunner, task: str) -> list[int]:
    """Return the processes above a task's worker: supervisor, guard, actor, raylet, …"""
    found = [runner.logged("start", task)[-1]["pid"]]
    while (parent := read_stat(found[-1]).parent) > 1:
        found.append(parent)
    return found[1:]


def hanging(on_ray: RaySweep, runner: SweepRunner) -> Running:
    """Return a sweep whose first attempt hangs, as its file says by now."""
    on_ray.write({"a": ["print first; hang", "print second; ok"]})
    running = runner.start()
    runner.wait_for_log("hangs", "a")
    wait_until(lambda: runner.paths.log("a").exists() and "first" in runner.log("a"))
    return running


@pytest.mark.parametrize("who", ["guard", "actor"])
def test_what_is_above_a_worker_is_killed(on_ray: RaySweep, runner: SweepRunner, who: str) -> None:
    """What is below ends, and tells so; of an actor that is gone, its node does."""
    running = hanging(on_ray, runner)
    _, guard, actor, *_ = ancestors(runner, "a")
    os.kill(guard if who == "guard" else actor, signal.SIGKILL)
    running.wait_for("a: completed")
    assert running.end().code == 0
    assert runner.starts("a") == 2
    assert runner.done("a")["attempts"][0]["verdict"] == "stopped"
    assert runner.paths.old_log("a", 1).read_text() == "first\n"


def test_a_driver_that_is_killed_is_started_again(on_ray: RaySweep, runner: SweepRunner) -> None:
    on_ray.write({"a": "gate; print more; ok", "b": "ok"}, at_most=1)
    running = runner.start()
    go_on = runner.reach_gate("a")
    wait_until(lambda: runner.paths.attempts("a").exists())
    os.kill(driver_of(runner, "a"), signal.SIGKILL)
    running.wait_for("Ray does not answer: its driver has ended")
    go_on()
    assert running.end().code == 0
    assert (runner.starts("a"), runner.starts("b")) == (1, 1)
    assert "more" in runner.log("a")


def test_a_node_that_is_cut_off_for_a_moment_loses_nothing(
    on_ray: RaySweep, runner: SweepRunner
) -> None:
    on_ray.write({"a": "gate; ok"})
    running = runner.start()
    go_on = runner.reach_gate("a")
    raylet = ancestors(runner, "a")[3]
    os.kill(raylet, signal.SIGSTOP)
    go_on()
    runner.wait_for_journal("completed", "a")
    os.kill(raylet, signal.SIGCONT)
    assert running.end().code == 0
    assert runner.starts("a") == 1


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.timeout(400)
def test_what_ran_on_a_node_that_is_lost_is_tried_elsewhere_and_not_charged(
    on_ray: RaySweep, runner: SweepRunner, lab: RayLab, how: signal.Signals
) -> None:
    """Killed, or cut off for good: then it has ended before the task is started elsewhere."""
    running = hanging(on_ray, runner)
    pid = runner.logged("start", "a")[0]["pid"]
    raylet = ancestors(runner, "a")[3]
    os.kill(raylet, how)
    wait_until(lambda: len(runner.logged("start", "a")) == 2, NOTICED)
    assert not Path(f"/proc/{pid}/exe").exists()
    assert running.end().code == 0
    assert runner.starts("a") == 2
    first, _ = runner.done("a")["attempts"]
    assert first["verdict"] in ("lost", "stopped")
    lab.ask("kill_node", lab.ask("status")["raylets"].index(raylet))


@pytest.fixture
def own_lab() -> Iterator[RayLab]:
    """A cluster that need not outlive its test."""
    if (why := why_no_ray()) is not None:
        pytest.skip(why)
    lab = RayLab()
    leave = lab.enter()
    yield lab
    leave()
    lab.stop()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_without_a_head_what_runs_ends_and_the_sweep_waits(
    runner: SweepRunner, own_lab: RayLab
) -> None:
    """Ray's own nodes end after a minute; what ran there has ended before, by its lease."""
    sweep = RaySweep(runner, own_lab)
    running = hanging(sweep, runner)
    pid = runner.logged("start", "a")[0]["pid"]
    own_lab.ask("kill_head")
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists())
    running.wait_for("Ray does not answer: ", patience=NOTICED)
    running.send(signal.SIGTERM)
    running.end()
    ended = runner.run()
    assert ended.code == 2
    assert "executor.address: nothing answers at" in ended.err
    # The sweep goes on elsewhere once it is known that nothing of it lives.
    other = RayLab()
    leave = other.enter()
    try:
        sweep.lab = other
        sweep.write({"a": ["print first; hang", "print second; ok"]})
        assert runner.run().code == 0
    finally:
        leave()
        other.stop()
    assert runner.starts("a") == 2
    assert runner.done("a")["attempts"][0]["verdict"] == "lost"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2])
def test_faults_at_random(on_ray: RaySweep, runner: SweepRunner, lab: RayLab, seed: int) -> None:
    """24 tasks, while dispatcher, drivers, workers, actors and nodes are killed: each once, none lost."""
    chance = random.Random(seed)
    tasks = [f"t{n:02}" for n in range(24)]
    on_ray.write(dict.fromkeys(tasks, "sleep 0.3; ok"), at_most=6)
    running = runner.start()
    for turn in itertools.count():
        wait_for_starts(runner, running, chance.randint(1, 5))
        if running.process.poll() is not None:
            break
        match turn % 5:
            case 0:
                running.kill()
                running = runner.start()
            case 1:
                lab.ask("kill_node", chance.randrange(2))
            case 2:
                kill_one(runner, chance, "actor")
            case 3:
                kill_one(runner, chance, "driver")
            case _:
                kill_one(runner, chance, "worker")
    assert running.end().code == 0
    assert runner.starts() >= len(tasks), "and no two of a task at the same time"
    assert set(runner.states().values()) == {"completed"}


def wait_for_starts(runner: SweepRunner, running: Running, number: int) -> None:
    """Wait until so many more attempts have begun, or the sweep is over."""
    most = len(runner.logged("start")) + number
    wait_until(
        lambda: len(runner.logged("start")) >= most or running.process.poll() is not None, NOTICED
    )


def kill_one(runner: SweepRunner, chance: random.Random, who: str) -> None:
    """Kill a process that an attempt depends on, if one runs."""
    ended = {entry["pid"] for entry in runner.logged("end")}
    running = [entry for entry in runner.logged("start") if entry["pid"] not in ended]
    chance.shuffle(running)
    with contextlib.suppress(OSError, IndexError, ValueError):
        entry = running[0]
        if who == "driver":
            os.kill(driver_of(runner, entry["task"]), signal.SIGKILL)
        elif who == "actor":
            os.kill(ancestors(runner, entry["task"])[2], signal.SIGKILL)
        else:
            os.kill(entry["pid"], signal.SIGKILL)


def driver_of(runner: SweepRunner, task: str) -> int:
    """Return the process that looks after a task's attempt."""
    token = runner.attempt(task)["token"]
    return int((runner.paths.jobs / f"{token}.driver").read_text())
