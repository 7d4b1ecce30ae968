"""Supervisors as a dispatcher has them, with programs that tests give them."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from scheduler.executors.local.handles import Spawner, SupervisorHandle
from scheduler.executors.local.wire import Answer, Run, Setup, WorkerEnded, WorkerStarted
from scheduler.storage.attempts_file import is_locked, read_attempts
from tests.helpers.waiting import readable


def run_of(folder: Path, script: str, **start: object) -> Run:
    """Return the order to run a shell script, its files in ``folder``."""
    return Run(
        ["/bin/sh", "-c", script],
        {},
        start={"attempt": 1, "task": "a", "device": "cpu:0", **start},
        attempts_file=str(folder / "a.attempts"),
        attempts_size=0,
        done_file=str(folder / "task.done"),
        log_file=str(folder / "a.log"),
        grace=1.0,
    )


def answers_of(supervisor: SupervisorHandle) -> list[Answer]:
    """Return all that a supervisor says of an attempt."""
    answers: list[Answer] = []
    while not any(isinstance(answer, WorkerEnded) for answer in answers):
        more, alive = supervisor.receive()
        assert alive
        answers += more
    return answers


@pytest.mark.parametrize("lacking", [frozenset[int](), frozenset({8191})])
def test_an_attempt_is_bound_to_its_cores_or_says_nothing_of_them(
    tmp_path: Path, lacking: frozenset[int]
) -> None:
    """A cpuset may have been made smaller since the dispatcher looked."""
    wanted = {min(os.sched_getaffinity(0))} | lacking
    setup = Setup(dict(os.environ), sorted(wanted))
    supervisor = SupervisorHandle([], setup, Spawner(tmp_path / "stderr"))
    supervisor.order(run_of(tmp_path, "grep Cpus_allowed_list /proc/self/status", cores="as asked"))
    answers_of(supervisor)
    supervisor.release()
    supervisor.reap()
    assert (tmp_path / "a.log").read_text().split()[-1] == str(min(wanted))
    [attempt] = read_attempts(tmp_path / "a.attempts")
    assert attempt.started.cores == (None if lacking else "as asked")


def test_cores_that_are_all_gone_are_no_hindrance(tmp_path: Path) -> None:
    supervisor = SupervisorHandle([], Setup(dict(os.environ), [8191]), Spawner(tmp_path / "stderr"))
    supervisor.order(run_of(tmp_path, "exit 7", cores="8191"))
    ended = answers_of(supervisor)[-1]
    assert isinstance(ended, WorkerEnded)
    assert ended.end.code == 7
    supervisor.release()
    supervisor.reap()
    assert read_attempts(tmp_path / "a.attempts")[0].started.cores is None
    assert not (tmp_path / "stderr").read_text()


def test_an_end_waits_for_room(tmp_path: Path) -> None:
    """A supervisor whose worker has finished keeps the fact until there is room to write it down."""
    record, go = tmp_path / "a.attempts", tmp_path / "go"
    os.mkfifo(go)
    supervisor = SupervisorHandle([], Setup(dict(os.environ), []), Spawner(tmp_path / "stderr"))
    supervisor.order(run_of(tmp_path, f"read line < '{go}'"))
    [started], _ = supervisor.receive()
    assert isinstance(started, WorkerStarted)
    worker = os.pidfd_open(started.pid)
    full = (record.stat().st_size, resource.RLIM_INFINITY)
    resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE, full)
    go.write_text("end\n")
    readable(worker)
    os.close(worker)
    assert not readable(supervisor, 0.5), "it gave up"
    assert is_locked(record)
    assert read_attempts(record)[-1].ended is None
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE, unlimited)
    [ended], _ = supervisor.receive()
    assert isinstance(ended, WorkerEnded)
    assert ended.end.code == 0
    assert read_attempts(record)[-1].ended == ended.end
    supervisor.release()
    supervisor.reap()
    assert not is_locked(record)
