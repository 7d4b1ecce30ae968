"""Whose child a process is: real processes, alive, dead, and dead in between."""

from __future__ import annotations

import os
import subprocess

from scheduler.devices.model import Process, Reading
from scheduler.devices.owners import descends_from, with_owners

NOBODY: frozenset[int] = frozenset()


def test_a_grandchild_descends_from_us_and_not_from_its_uncle() -> None:
    uncle = subprocess.Popen(["sleep", "60"])
    child = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    try:
        assert descends_from(grandchild, frozenset({os.getpid()})) is True
        assert descends_from(grandchild, frozenset({child.pid})) is True
        assert descends_from(grandchild, frozenset({grandchild})) is True
        assert descends_from(grandchild, frozenset({uncle.pid})) is False
        assert descends_from(grandchild, NOBODY) is False
    finally:
        os.kill(grandchild, 9)
        for process in (uncle, child):
            process.kill()
            process.wait()


def test_of_a_process_that_is_gone_nothing_is_said() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert descends_from(child.pid, frozenset({os.getpid()})) is None
    assert descends_from(child.pid, NOBODY) is None
    assert descends_from(4294967295, NOBODY) is None


def test_a_worker_that_ended_since_the_reading_is_not_a_foreign_process() -> None:
    worker = subprocess.Popen(["true"])
    worker.wait()
    neighbour = Process(os.getppid(), 1, "python", "anna")
    taken_before = Reading("GPU-1", processes=(Process(worker.pid, 1, "true", "me"), neighbour))
    reading, own = with_owners(taken_before, supervisor=None)
    assert reading.processes == (Process(worker.pid, 1, "true", "me", exists=False), neighbour)
    assert own == NOBODY


def test_our_own_are_told_from_others() -> None:
    worker = subprocess.Popen(["sleep", "60"])
    try:
        both = tuple(Process(pid, 1) for pid in (worker.pid, os.getppid()))
        reading, own = with_owners(Reading("GPU-1", processes=both), supervisor=os.getpid())
        assert reading.processes == both
        assert own == {worker.pid}
    finally:
        worker.kill()
        worker.wait()
