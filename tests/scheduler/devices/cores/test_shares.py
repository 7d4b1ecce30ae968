"""Which device gets which cores, on machines that are only described."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.devices.cores.machine import Core, Machine
from scheduler.devices.cores.shares import TooFewCores, share_out
from scheduler.devices.finding import cpu_slots
from scheduler.devices.model import Device


def gpus(number: int, near: dict[int, range] | None = None) -> list[Device]:
    return [
        Device(f"GPU-{n}", "a GPU", str(n), "gpu", near=frozenset((near or {}).get(n, ())))
        for n in range(number)
    ]


def plain(cores: int, *, threads: int = 1, nodes: int = 1, quota: float | None = None) -> Machine:
    """A machine whose cores' first threads are numbered first."""
    return Machine(
        tuple(
            Core(tuple(n + cores * thread for thread in range(threads)), n * nodes // cores)
            for n in range(cores)
        ),
        quota,
    )


def shares(machine: Machine, devices: list[Device]) -> list[tuple[int, ...]]:
    return [*share_out(machine, devices, devices, "auto").cpus.values()]


def test_attempts_that_share_a_device_have_cores_of_their_own() -> None:
    two = gpus(2)
    shared = share_out(plain(16), two, two, "auto", {"GPU-0": 3})
    assert shared.parts == {"GPU-0": ((1, 2, 3), (4, 5), (6, 7))}
    assert shared.cpus["GPU-0"] == tuple(range(1, 8))
    given = share_out(plain(16), two, two, 2, {"GPU-0": 3, "GPU-1": 3})
    assert given.parts["GPU-1"] == ((8, 9), (11, 12), (14, 15))
    assert given.cpus["GPU-1"] == (8, 9)
    with pytest.raises(TooFewCores, match="give at most 2"):
        share_out(plain(16), two, two, 3, {"GPU-0": 3, "GPU-1": 3})


def test_more_attempts_than_cores_share_them() -> None:
    [gpu] = gpus(1)
    shared = share_out(plain(2), [gpu], [gpu], "auto", {"GPU-0": 4})
    assert shared.parts == {"GPU-0": ((0,), (1,), (0,), (1,))}


# --- auto ------------------------------------------------------------------------------------------


def test_each_device_has_cores_of_its_own_and_one_is_kept_back() -> None:
    shared = share_out(plain(32), gpus(2), gpus(2), "auto")
    assert [*shared.cpus.values()] == [tuple(range(1, 16)), tuple(range(16, 32))]
    assert (shared.threads, shared.summary) == (15, "15 to 16 cores each")


@pytest.mark.parametrize(
    ("cores", "devices", "sizes"),
    [(4, 2, [2, 2]), (5, 2, [2, 2]), (3, 2, [2, 1]), (2, 2, [1, 1]), (17, 16, [2] + [1] * 15)],
)
def test_none_is_kept_back_where_a_device_would_have_less_than_two(
    cores: int, devices: int, sizes: list[int]
) -> None:
    assert list(map(len, shares(plain(cores), gpus(devices)))) == sizes


def test_siblings_stay_together_and_a_core_has_one_thread() -> None:
    shared = share_out(plain(4, threads=2), gpus(2), gpus(2), "auto")
    assert [*shared.cpus.values()] == [(0, 1, 4, 5), (2, 3, 6, 7)]
    assert shared.threads == 2


def test_a_share_stays_on_one_node_where_it_fits() -> None:
    dealt = shares(plain(16, nodes=2), cpu_slots(3))
    assert dealt == [(0, 1, 2, 3, 4, 5), (8, 9, 10, 11, 12), (6, 7, 13, 14, 15)]
    assert shares(plain(16, nodes=2), cpu_slots(4))[1] == (4, 5, 6, 7)


def test_a_device_gets_the_cores_that_are_near_to_it() -> None:
    crossed = {0: range(8, 16), 1: range(8)}
    assert shares(plain(16, nodes=2), gpus(2, crossed)) == [
        (8, 9, 10, 11, 12, 13, 14, 15),
        (*range(1, 8),),
    ]


def test_what_is_near_to_nobody_goes_to_those_for_whom_nothing_near_is_left() -> None:
    all_near_the_first = dict.fromkeys(range(3), range(4))
    dealt = shares(plain(6, nodes=3), gpus(3, all_near_the_first))
    assert dealt == [(0, 1), (2, 3), (4, 5)]
    # One whose near cores are not known leaves them to the others.
    assert shares(plain(4, nodes=2), gpus(2, {1: range(2)})) == [(2, 3), (0, 1)]


def test_near_cpus_that_may_not_be_used_are_of_no_account() -> None:
    assert shares(plain(4), gpus(2, {0: range(64, 128), 1: range(64, 128)})) == [(0, 1), (2, 3)]


def test_fast_and_slow_cores_are_each_dealt_out_evenly() -> None:
    fast = tuple(Core((2 * n, 2 * n + 1)) for n in range(3))
    slow = tuple(Core((n,), slow=True) for n in range(6, 9))
    assert shares(Machine(fast + slow), gpus(2)) == [(0, 1, 2, 3), (4, 5, 7, 8)]
    assert shares(Machine(fast + slow), cpu_slots(2)) == [(0, 1, 2, 3, 6), (4, 5, 7, 8)]


def test_a_quota_limits_the_threads_and_binds_nobody_closer() -> None:
    """Other containers have the same CPUs: if each took the first ones, they would all meet there."""
    shared = share_out(plain(64, quota=1.5), gpus(1), gpus(1), "auto")
    assert (len(shared.cpus["GPU-0"]), shared.threads) == (63, 1)
    assert share_out(plain(64, quota=8.0), gpus(2), gpus(2), "auto").threads == 4


def test_more_devices_than_cores_share_them_evenly() -> None:
    shared = share_out(plain(2), cpu_slots(5), cpu_slots(5), "auto")
    assert [*shared.cpus.values()] == [(0,), (1,), (0,), (1,), (0,)]
    assert (shared.threads, shared.summary) == (1, "5 devices share 2 core(s)")


# --- N, off ----------------------------------------------------------------------------------------


def test_so_many_cores_for_each() -> None:
    shared = share_out(plain(8, threads=2), gpus(2), gpus(2), 3)
    assert [*shared.cpus.values()] == [(0, 1, 2, 8, 9, 10), (4, 5, 6, 12, 13, 14)]
    assert (shared.threads, shared.summary) == (3, "3 core(s) each")


def test_so_many_cores_for_the_devices_of_one_sweep_alone() -> None:
    here = gpus(4)
    shared = share_out(plain(8), here, here[:1], 8)
    assert (shared.cpus, shared.threads) == ({"GPU-0": tuple(range(8))}, 8)
    assert "too few for all 4 devices: a sweep on others may get the same" in shared.summary


@pytest.mark.parametrize(
    ("cores", "devices", "help_"),
    [(3, 2, "at most 2"), (99, 1, "at most 4"), (1, 5, "auto, which")],
)
def test_more_cores_than_there_are(cores: int, devices: int, help_: str) -> None:
    with pytest.raises(TooFewCores, match=f"devices.cores: {cores} for each of {devices}.*{help_}"):
        share_out(plain(4), gpus(devices), gpus(devices), cores)


def test_off() -> None:
    assert share_out(plain(8), gpus(2), gpus(2), "off").threads is None
    off = share_out(plain(8, threads=2), cpu_slots(3), cpu_slots(3), "off")
    assert (off.cpus, off.threads, off.summary) == ({}, 5, "")


@pytest.mark.parametrize(("cpus", "slots", "threads"), [(2, 1, 2), (2, 2, 1), (2, 3, 1), (8, 3, 2)])
def test_slots_compute_with_as_many_threads_as_they_always_did(
    cpus: int, slots: int, threads: int
) -> None:
    """Times on a CPU can be compared only with those of as many threads."""
    devices = cpu_slots(slots)
    assert share_out(plain(cpus), devices, devices, "auto").threads == threads
    assert share_out(plain(cpus // 2, threads=2), devices, devices, "auto").threads == threads


# --- whatever the machine --------------------------------------------------------------------------


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Cores with one to four threads, on nodes or none, fast and slow, their CPUs numbered anyhow."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    numbers = iter(draw(st.permutations(range(sum(sizes)))))
    nodes = draw(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=1, max_size=3))
    found = [
        Core(
            tuple(sorted(next(numbers) for _ in range(size))),
            draw(st.sampled_from(nodes)),
            draw(st.booleans()),
        )
        for size in sizes
    ]
    return Machine(tuple(found), draw(st.none() | st.floats(0.1, 64)))


@st.composite
def device_lists(draw: st.DrawFn) -> list[Device]:
    near = draw(st.lists(st.frozensets(st.integers(0, 40), max_size=6), min_size=1, max_size=8))
    if draw(st.booleans()):
        return cpu_slots(len(near))
    return [Device(f"GPU-{n}", "", str(n), "gpu", near=cpus) for n, cpus in enumerate(near)]


@given(machines(), device_lists(), st.data())
def test_shares_are_disjoint_even_whole_and_the_same_for_all_sweeps(
    machine: Machine, devices: list[Device], data: st.DataObject
) -> None:
    shared = share_out(machine, devices, devices, "auto")
    dealt = [set(cpus) for cpus in shared.cpus.values()]
    held = [[core for core in machine.cores if share & set(core.cpus)] for share in dealt]
    for share, whole in zip(dealt, held, strict=True):
        assert share == {cpu for core in whole for cpu in core.cpus}
    sizes = list(map(len, held))
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    if len(machine.cores) >= len(devices):
        assert all(a.isdisjoint(b) for a, b in combinations(dealt, 2))
        assert len(machine.cores) - sum(sizes) in (0, 1)
    else:
        assert set().union(*dealt) == {cpu for core in machine.cores for cpu in core.cpus}
    assert shared.threads is not None
    assert 1 <= shared.threads <= min(map(len, dealt))
    some = data.draw(st.lists(st.sampled_from(devices), min_size=1, unique=True))
    alone = share_out(machine, devices, some, "auto")
    assert alone.cpus == {device.id: shared.cpus[device.id] for device in some}
    assert alone.threads == shared.threads
    # Nor does it meet those that name a number, as long as that is there for all.
    number = data.draw(st.integers(1, 4))
    if number * len(devices) <= len(machine.cores):
        numbered = share_out(machine, devices, devices, number).cpus
        for (one, cpus), (other, own) in product(numbered.items(), shared.cpus.items()):
            assert one == other or set(cpus).isdisjoint(own)


@given(machines(), device_lists(), st.integers(1, 30))
def test_so_many_cores_are_given_or_refused(
    machine: Machine, devices: list[Device], cores: int
) -> None:
    if cores * len(devices) > len(machine.cores):
        with pytest.raises(TooFewCores):
            share_out(machine, devices, devices, cores)
        return
    dealt = share_out(machine, devices, devices, cores).cpus.values()
    assert all(set(a).isdisjoint(b) for a, b in combinations(dealt, 2))
    for cpus in dealt:
        assert sum(set(core.cpus) <= set(cpus) for core in machine.cores) == cores
