"""Attempts that meet the time limit of their job: Slurm looks for such jobs about twice a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.slurm import SlurmLab
from tests.helpers.sweep_runner import SweepRunner
from tests.helpers.waiting import wait_until

WHY = "the time that its job had was over (executor.time)"


@pytest.fixture
def sweep(runner: SweepRunner, lab: SlurmLab) -> SweepRunner:
    runner.environment |= lab.environment
    return runner


def write(sweep: SweepRunner, script: dict[str, str | list[str]], time: str, attempts: int) -> None:
    sweep.write(
        script,
        executor={"kind": "slurm", "time": time, "gres": "none", "lease": "10s"},
        devices={"idle_for": "0s"},
        retries={"max_attempts": attempts},
    )


def time_is_up(sweep: SweepRunner, lab: SlurmLab) -> None:
    """Have the job of the running task end as soon as Slurm looks, as an administrator can."""
    sweep.wait_for_log("hangs", "a")
    wait_until(lambda: sweep.paths.attempts("a").stat().st_size)
    number = sweep.attempt("a")["place"]["job"]
    lab.call("scontrol", "update", f"JobId={number}", "EndTime=now+2")  # not before it began


@pytest.mark.long
@pytest.mark.parametrize("shortened", [True, False])
def test_a_task_goes_on_where_the_time_limit_ended_it(
    sweep: SweepRunner, lab: SlurmLab, shortened: bool
) -> None:
    """With the rows that its worker wrote before, and when it was told to end."""
    script = ["results first; tidy second", "results third; ok"]
    write(sweep, {"a": script}, "5m" if shortened else "1m", attempts=2)
    running = sweep.start()
    if shortened:
        time_is_up(sweep, lab)
    # More than a minute, if it has one, and half of one until Slurm looks.
    wait_until(lambda: sweep.starts("a") == 2, patience=180.0)
    assert running.end().code == 0
    first, second = sweep.done("a")["attempts"]
    assert (first["verdict"], first["cause"]) == ("timeout", WHY)
    assert "verdict" not in second
    assert sweep.paths.results("a").read_text().split() == ["first", "second", "third"]


@pytest.fixture
def kill_wait(request: pytest.FixtureRequest, lab: SlurmLab) -> Iterator[None]:
    """Seconds that Slurm leaves between TERM and KILL."""
    whole = lab.conf.read_text()
    lab.conf.write_text(whole.replace("KillWait=12", f"KillWait={request.param}"))
    lab.call("scontrol", "reconfigure")
    yield
    lab.conf.write_text(whole)
    lab.call("scontrol", "reconfigure")


@pytest.mark.long
@pytest.mark.usefixtures("kill_wait")
@pytest.mark.parametrize("kill_wait", [12, 2], indirect=True)
def test_it_is_charged_for_and_told(sweep: SweepRunner, lab: SlurmLab) -> None:
    """Also where Slurm kills before the worker's time to end is over."""
    write(sweep, {"a": "deaf"}, "5m", attempts=1)
    running = sweep.start()
    time_is_up(sweep, lab)
    assert running.end().code == 1
    assert sweep.failed("a")["attempts"][0]["verdict"] == "timeout"
    assert WHY in sweep.failed("a")["cause"]
    assert WHY in " ".join(sweep.run("status", sweep.file, COLUMNS="500").out.split())
