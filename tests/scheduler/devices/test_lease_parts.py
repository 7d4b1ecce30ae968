"""Leases on parts of a device, beside each other's and against those of the whole."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.devices.lease import Lease, LeaseHeld
from tests.scheduler.devices.conftest import GPU, OTHER_USER, Dispatcher


def refused(act: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(LeaseHeld) as error:
        act(*arguments)
    return str(error.value)


def test_as_many_as_are_allowed_whoever_has_them(folder: Path, other: Dispatcher) -> None:
    first = Lease.acquire_part(folder, GPU, 3)
    other.share(folder, 3)
    Lease.acquire_part(folder, GPU, 3)
    said = refused(other.share, folder, 3)
    assert said.startswith("all 3 part(s) of it are taken, the last one leased by another")
    other.share(folder, 4)
    first.release()
    other.share(folder, 3)


def test_the_whole_and_parts_exclude_each_other(folder: Path, other: Dispatcher) -> None:
    part = Lease.acquire_part(folder, GPU, 2)
    assert refused(other.acquire, folder) == "leased in parts, by attempts that share it"
    assert refused(Lease.acquire, folder, GPU) == "leased in parts, by attempts that share it"
    part.release()
    other.acquire(folder)
    assert f"process {other.process.pid}, user " in refused(Lease.acquire_part, folder, GPU, 2)


def test_a_refused_part_leaves_nothing_held(folder: Path, other: Dispatcher) -> None:
    part = Lease.acquire_part(folder, GPU, 1)
    descriptors = len(os.listdir("/proc/self/fd"))
    refused(Lease.acquire_part, folder, GPU, 1)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    part.release()
    other.acquire(folder)


def test_versions_that_know_the_exclusive_lock_alone(folder: Path) -> None:
    part = Lease.acquire_part(folder, GPU, 2)
    with (folder / GPU).open() as old:
        with pytest.raises(BlockingIOError):
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.release()
        fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
        refused(Lease.acquire_part, folder, GPU, 2)


def test_an_heir_keeps_its_part(folder: Path, other: Dispatcher) -> None:
    part = Lease.acquire_part(folder, GPU, 1)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=part.descriptors) as heir:
        part.release()
        refused(other.acquire, folder)
        refused(other.share, folder, 1)
        other.share(folder, 2)
        heir.communicate()
    Lease.acquire_part(folder, GPU, 1)


def test_the_whole_can_be_let_to_those_who_share(folder: Path, other: Dispatcher) -> None:
    whole = Lease.acquire(folder, GPU)
    refused(other.share, folder, 1)
    whole.let_share()
    refused(other.acquire, folder)
    other.share(folder, 1)


def test_a_device_whose_file_was_removed_is_nobody_s_alone_for_long(
    folder: Path, other: Dispatcher
) -> None:
    """As `DevicePool` does it once a second."""
    Lease.acquire_part(folder, GPU, 2)
    (folder / GPU).unlink()
    anew = Lease.acquire(folder, GPU)
    anew.let_share()
    refused(other.acquire, folder)


def test_part_files_are_for_all_users(folder: Path, start: Callable[..., Dispatcher]) -> None:
    mask = os.umask(0o077)
    try:
        Lease.acquire_part(folder, GPU, 1).release()
    finally:
        os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o666}
    if os.geteuid() == 0:
        start(OTHER_USER).share(folder, 1)
