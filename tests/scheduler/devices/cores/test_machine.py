"""What the kernel tells of cores, from trees as machines of many kinds have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scheduler.devices.cores.machine import Core, Machine, read_machine

CPU = "sys/devices/system/cpu"
NODE = "sys/devices/system/node"


def machine(folder: Path, allowed: set[int], **files: str) -> Machine:
    return read_machine(allowed, folder / "sys", folder / "cgroup")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def siblings(groups: list[str]) -> dict[str, str]:
    """The topology files of cores with these CPUs."""
    return {
        f"{CPU}/cpu{cpu}/topology/thread_siblings_list": group
        for group in groups
        for cpu in group.replace("-", ",").split(",")
    }


def cores(machine: Machine) -> list[tuple[tuple[int, ...], int | None]]:
    return [(core.cpus, core.node) for core in machine.cores]


# Two sockets with two NUMA nodes each, a core for each node, two threads for each core: as they are numbered
# on servers, first all cores' first threads.
SERVER = siblings(["0,4", "1,5", "2,6", "3,7"]) | {
    f"{NODE}/node{n}/cpulist": f"{n},{n + 4}" for n in range(4)
}


def test_a_server(tmp_path: Path) -> None:
    write(tmp_path, SERVER)
    assert cores(machine(tmp_path, set(range(8)))) == [((n, n + 4), n) for n in range(4)]


def test_a_container_has_some_of_its_cpus(tmp_path: Path) -> None:
    """A core of which it has one thread is a core."""
    write(tmp_path, SERVER)
    assert cores(machine(tmp_path, {2, 5, 6, 7})) == [((5,), 1), ((2, 6), 2), ((7,), 3)]


def test_offline_cpus_are_nobodys_siblings(tmp_path: Path) -> None:
    write(tmp_path, siblings(["0,2"]) | {f"{CPU}/cpu1/topology/thread_siblings_list": "1,3"})
    assert cores(machine(tmp_path, {0, 1, 2})) == [((0, 2), None), ((1,), None)]


def test_a_hybrid_processor(tmp_path: Path) -> None:
    write(tmp_path, siblings(["0-1", "2-3", "4", "5"]) | {"sys/devices/cpu_atom/cpus": "4-5"})
    assert machine(tmp_path, set(range(6))).cores == (
        *(Core((0, 1)), Core((2, 3))),
        *(Core((4,), slow=True), Core((5,), slow=True)),
    )


@pytest.mark.parametrize("text", ["", "x", "0-", "\0"])
def test_without_sysfs_each_cpu_is_a_core(tmp_path: Path, text: str) -> None:
    if text:
        write(tmp_path, siblings(["0", "1"]) | {f"{NODE}/node0/cpulist": text})
        (tmp_path / f"{CPU}/cpu0/topology/thread_siblings_list").write_text(text)
    assert machine(tmp_path, {0, 1}) == Machine((Core((0,)), Core((1,))))


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {"cpu.max": ""}, None),
        ("0::/", {"cpu.max": "0 0"}, None),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        # The host's path, seen from a container.
        ("0::/kubepods/pod1", {"cpu.max": "800000 100000"}, 8.0),
        ("0::/../..", {"cpu.max": "max 100000"}, None),
        (
            "4:cpu,cpuacct:/a\n0::/",
            {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        (
            "4:cpu,cpuacct:/",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("3:cpuset:/\nnonsense", {}, None),
        ("", {}, None),
    ],
)
def test_quota(tmp_path: Path, groups: str, files: dict[str, str], quota: float | None) -> None:
    write(tmp_path, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    (tmp_path / "cgroup").write_text(groups)
    assert machine(tmp_path, {0}).quota == quota


def test_this_machine() -> None:
    here = read_machine(os.sched_getaffinity(0))
    assert {cpu for core in here.cores for cpu in core.cpus} == os.sched_getaffinity(0)
