"""Whose child a process is: real processes, alive, dead, and dead in between."""

from __future__ import annotations

import os
import subprocess

from scheduler.devices.model import Process, Reading
from scheduler.devices.owners import owner_of, with_owners

NOBODY: frozenset[int] = frozenset()


def test_a_grandchild_descends_from_us_and_not_from_its_uncle() -> None:
    uncle = subprocess.Popen(["sleep", "60"])
    child = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    try:
        assert owner_of(grandchild, {os.getpid()}) == os.getpid()
        assert owner_of(grandchild, {child.pid}) == child.pid
        assert owner_of(grandchild, {grandchild}) == grandchild
        assert owner_of(grandchild, {uncle.pid}) == 0
        assert owner_of(grandchild, NOBODY) == 0
    finally:
        os.kill(grandchild, 9)
        for process in (uncle, child):
            process.kill()
            process.wait()


def test_of_a_process_that_is_gone_nothing_is_said() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert owner_of(child.pid, {os.getpid()}) is None
    assert owner_of(child.pid, NOBODY) is None
    assert owner_of(4294967295, NOBODY) is None


def test_a_worker_that_ended_since_the_reading_is_not_a_foreign_process() -> None:
    worker = subprocess.Popen(["true"])
    worker.wait()
    neighbour = Process(os.getppid(), 1, "python", "anna")
    taken_before = Reading("GPU-1", processes=(Process(worker.pid, 1, "true", "me"), neighbour))
    reading, own = with_owners(taken_before, [])
    assert reading.processes == (Process(worker.pid, 1, "true", "me", exists=False), neighbour)
    assert own == {}


def test_our_own_are_told_from_others() -> None:
    worker = subprocess.Popen(["sleep", "60"])
    try:
        both = tuple(Process(pid, 1) for pid in (worker.pid, os.getppid()))
        reading, own = with_owners(Reading("GPU-1", processes=both), [os.getpid()])
        assert reading.processes == both
        assert own == {worker.pid: os.getpid()}
    finally:
        worker.kill()
        worker.wait()
