"""What ran on a CPU does not answer for a sweep that runs on GPUs, nor the other way round."""

from __future__ import annotations

import json

import pytest

from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.sweep_runner import Ended, Running, SweepRunner

ANYWHERE = {"cpu_slots": 1, "idle_for": "0s", "min_free_memory": "1MiB"}


class Machine:
    """One folder, on a machine with a GPU and, at the same time, without."""

    def __init__(self, runner: SweepRunner, fake_nvml: FakeNvml) -> None:
        self.runner = runner
        self._gpu = fake_nvml.environment({}) | {"SCHEDULER_LEASES": str(runner.folder / "leases")}
        fake_nvml.gpus(1)

    def start(self, kind: str, *words: str) -> Running:
        return self.runner.start(self.runner.file, *words, **(self._gpu if kind == "GPU" else {}))

    def run(self, kind: str, *words: str) -> Ended:
        return self.start(kind, *words).end()


@pytest.fixture
def machine(runner: SweepRunner, fake_nvml: FakeNvml) -> Machine:
    return Machine(runner, fake_nvml)


@pytest.mark.parametrize(("first", "then"), [("CPU", "GPU"), ("GPU", "CPU")])
def test_a_completion_does_not_count_on_another_kind(
    machine: Machine, first: str, then: str
) -> None:
    runner = machine.runner
    runner.write({"a": "ok", "b": "ok"}, devices=ANYWHERE)
    assert machine.run(first).code == 0
    assert machine.run(first).code == 0
    assert runner.starts() == 2
    device = runner.done("a")["device"]
    why = f"it ran on a {first} ({device}), and the sweep runs on a {then}"
    planned = machine.run(then, "--dry-run").out
    assert f"2 completed tasks do not hold any more: {why}" in planned
    assert "a [waiting]" in planned
    assert machine.run(then).code == 0
    assert runner.starts() == 4
    assert runner.states() == {"a": "completed", "b": "completed"}
    assert runner.done("a")["device"] != device
    # Nothing is lost by it: what was completed here counts here.
    assert machine.run(first).code == 0
    assert runner.starts() == 4
    assert runner.done("a")["device"] == device


def test_what_a_cpu_completed_of_a_sweep_for_gpus_never_counts(machine: Machine) -> None:
    """As an earlier version let it happen; nobody asks the driver to see it."""
    runner = machine.runner
    runner.write({"a": "ok"}, devices=ANYWHERE)
    assert machine.run("CPU").code == 0
    runner.file.write_text(runner.file.read_text().replace("  cpu_slots: 1\n", ""))
    task = runner.status()["tasks"][0]
    assert task["state"] == "waiting"
    assert machine.run("GPU").code == 0
    assert runner.starts() == 2


def test_a_checkpoint_that_does_not_say_where_it_ran_holds(machine: Machine) -> None:
    runner = machine.runner
    runner.write({"a": "ok"}, devices=ANYWHERE)
    assert machine.run("CPU").code == 0
    done = runner.done("a")
    runner.paths.done("a").write_text(json.dumps(done | {"device": None}) + "\n")
    assert machine.run("GPU").code == 0
    assert runner.starts() == 1


def test_what_still_runs_on_another_kind_is_stopped(machine: Machine) -> None:
    runner = machine.runner
    runner.write({"a": ["gate; ok", "ok"]}, devices=ANYWHERE)
    running = machine.start("CPU")
    runner.reach_gate("a")
    running.kill()
    ended = machine.run("GPU")
    assert (ended.code, runner.starts("a")) == (0, 2)
    assert "it ran on a CPU (cpu:0), and the sweep runs on a GPU" in ended.out
    assert runner.done("a")["device"].startswith("GPU-")


def test_what_ended_unseen_on_another_kind_is_kept_for_that(machine: Machine) -> None:
    runner = machine.runner
    runner.write({"a": "gate; ok"}, devices=ANYWHERE)
    running = machine.start("CPU")
    open_gate = runner.reach_gate("a")
    running.kill()
    open_gate()
    runner.wait_for_end_of_attempt("a")
    runner.script({"a": "ok"})
    assert machine.run("GPU").code == 0
    assert runner.done("a")["device"].startswith("GPU-")
    assert machine.run("CPU").code == 0
    assert runner.done("a")["device"] == "cpu:0"
    assert runner.starts("a") == 2
