"""CPU slots."""

from __future__ import annotations

import os

import pytest

from scheduler.devices.cpu import cpu_slots, threads_per_slot


def test_slots() -> None:
    assert [(d.id, d.name, d.kind) for d in cpu_slots(2)] == [
        ("cpu:0", "CPU slot 0", "cpu"),
        ("cpu:1", "CPU slot 1", "cpu"),
    ]


@pytest.fixture
def one_core():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_threads_are_shared_out_over_the_cores_we_may_use() -> None:
    cores = len(os.sched_getaffinity(0))
    assert threads_per_slot(1) == cores
    assert threads_per_slot(cores) == 1


@pytest.mark.usefixtures("one_core")
def test_more_slots_than_cores_get_a_thread_each() -> None:
    assert threads_per_slot(1) == threads_per_slot(3) == 1
