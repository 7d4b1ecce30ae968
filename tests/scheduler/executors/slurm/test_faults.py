"""What breaks on a real cluster: its daemons, its nodes, its administrators. No task runs twice at once.

How long most of it takes depends on when daemons notice, and on the machine's pace: pytest --long runs it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.slurm import SlurmLab, step_daemon
from tests.helpers.sweep_runner import SweepRunner
from tests.helpers.waiting import wait_until

SLURM = {"kind": "slurm", "time": "5m", "lease": "10s"}


@pytest.fixture
def sweep(runner: SweepRunner, lab: SlurmLab) -> Iterator[SweepRunner]:
    """A runner whose sweeps run on the cluster, which is whole again afterwards."""
    runner.environment |= lab.environment
    yield runner
    lab.mend()
    lab.call("scancel", "--user=root")


def write(sweep: SweepRunner, script: dict[str, Any], **settings: Any) -> None:
    sweep.write(script, executor={**SLURM, **settings}, devices={"idle_for": "0s"})


def node_of(sweep: SweepRunner, task: str) -> int:
    """Return the number of the node on which a task's newest attempt runs, from 0."""
    return int(sweep.attempt(task)["place"]["node"].removeprefix("n")) - 1


def test_a_node_whose_daemon_is_killed_and_comes_back_loses_nothing(
    sweep: SweepRunner, lab: SlurmLab
) -> None:
    write(sweep, {"a": "gate; ok"})
    running = sweep.start()
    go_on = sweep.reach_gate("a")
    node = lab.nodes[node_of(sweep, "a")]
    node.end()
    node.start()
    go_on()
    assert running.end().code == 0
    assert sweep.starts("a") == 1


def test_an_attempt_on_a_node_that_slurm_has_given_up_is_left_alone_while_it_lives(
    sweep: SweepRunner, lab: SlurmLab
) -> None:
    """NODE_FAIL: its end is still its own to tell."""
    write(sweep, {"a": "gate; ok"})
    running = sweep.start()
    go_on = sweep.reach_gate("a")
    number = str(sweep.attempt("a")["place"]["job"])
    node = node_of(sweep, "a")
    lab.nodes[node].end()
    lab.fail_node(node)
    wait_until(lambda: lab.jobs().get(number) == "NODE_FAIL")
    go_on()
    assert running.end().code == 0
    assert sweep.starts("a") == 1


def test_a_sweep_begins_while_no_node_is_up(sweep: SweepRunner, lab: SlurmLab) -> None:
    """As just after a controller's start: what no node can take now is not what none ever can."""
    write(sweep, {"a": "ok"}, memory="1GiB")
    for number, node in enumerate(lab.nodes):
        node.end()
        lab.fail_node(number)
    running = sweep.start()
    running.wait_for("job [0-9]+ is in Slurm's queue")
    lab.mend()
    assert running.end().code == 0


@pytest.mark.long
def test_what_died_with_its_node_is_tried_elsewhere_and_not_charged(
    sweep: SweepRunner, lab: SlurmLab
) -> None:
    write(sweep, {"a": ["hang", "ok"]})
    running = sweep.start()
    sweep.wait_for_log("hangs", "a")
    wait_until(lambda: sweep.paths.attempts("a").stat().st_size)
    place = sweep.attempt("a")["place"]
    node = node_of(sweep, "a")
    lab.nodes[node].end()
    lab.power_off(sweep.logged("start", "a")[-1]["pid"])
    lab.fail_node(node)
    running.wait_for("a: completed")
    assert running.end().code == 0
    first, last = sweep.done("a")["attempts"]
    assert first["verdict"] == "lost"
    assert last["place"]["node"] != place["node"]


@pytest.mark.long
@pytest.mark.parametrize("when", ["runs", "is queued"])
def test_a_controller_that_is_killed_and_started_again(
    sweep: SweepRunner, lab: SlurmLab, when: str
) -> None:
    write(sweep, {"a": "gate; ok", "b": "ok"}, at_most=1)
    running = sweep.start()
    if when == "runs":
        go_on = sweep.reach_gate("a")
        lab.controller.end()
    else:  # it may have forgotten the job
        wait_until(lambda: list(sweep.paths.jobs.glob("*.order")))
        wait_until(lambda: list(lab.jobs_of_attempts()))
        lab.controller.end()
        lab.controller.start()
        go_on = sweep.reach_gate("a")
    go_on()
    sweep.wait_for_journal("completed", "a")
    lab.controller.end()
    lab.controller.start()
    assert running.end().code == 0
    assert (sweep.starts("a"), sweep.starts("b")) == (1, 1)


@pytest.mark.long
def test_a_requeue_by_an_administrator_runs_nothing_twice(
    sweep: SweepRunner, lab: SlurmLab
) -> None:
    write(sweep, {"a": ["hang", "gate; ok"]})
    running = sweep.start()
    sweep.wait_for_log("hangs", "a")
    wait_until(lambda: sweep.paths.attempts("a").stat().st_size)
    number = str(sweep.attempt("a")["place"]["job"])
    lab.call("scontrol", "update", f"JobId={number}", "Requeue=1")
    lab.call("scontrol", "requeue", number)
    go_on = sweep.reach_gate("a")
    wait_until(lambda: lab.jobs().get(number) in ("COMPLETED", None))
    go_on()
    assert running.end().code == 0
    assert sweep.starts("a") == 2


@pytest.mark.long
@pytest.mark.parametrize("who", ["its dispatcher", "the next one"])
def test_a_job_whose_end_slurm_has_not_heard_of_gives_its_gpus_back(
    sweep: SweepRunner, lab: SlurmLab, who: str
) -> None:
    write(sweep, {"a": "gate; ok", "b": "gate; ok"})
    running = sweep.start()
    go_on = sweep.reach_gate("a")
    number = sweep.attempt("a")["place"]["job"]
    teller = step_daemon(sweep.logged("start", "a")[-1]["pid"])
    os.kill(teller, signal.SIGSTOP)
    go_on()
    sweep.wait_for_journal("completed", "a")
    if who == "the next one":
        running.kill()
        running = sweep.start()
    assert lab.jobs()[str(number)] == "RUNNING"
    wait_until(lambda: lab.jobs().get(str(number)) != "RUNNING")
    os.kill(teller, signal.SIGCONT)
    sweep.open_gate("b")
    assert running.end().code == 0
    assert sweep.starts() == 2
