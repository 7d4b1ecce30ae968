"""What the host did to a call: judged from samples that were recorded, and of a real process."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.metrics import host
from worker.metrics.host import Counted, Disturbance, HostMeter, judge
from worker.metrics.kernel_counters import throttled, ticks, waits


@pytest.fixture
def quiet_host():
    """Nothing is left out here."""


# an H200's host with 16 cores, nothing else on it: a thread that launches kernels for a second
ALONE = (Counted(ran=2.0, all_ran=2.1, threads={1: (2.0, 0.0041)}), 1.3535)
ALONE_AFTER = Counted(ran=3.3531, all_ran=3.4531, threads={1: (3.3531, 0.00421)})


def recorded(schedstat, ran, throttled_time=0):
    """Return what was counted, by the text of the files that say it."""
    return Counted(
        ran=ran,
        all_ran=ran,
        threads={1: waits(schedstat)},
        ticks=ticks(STAT, {1}),
        throttled=throttled(CPU_STAT.format(throttled_time)),
    )


STAT = """cpu  2891766 118604 447572 3044753 9424 0 3405 3054 0 0
cpu0 1352471 60897 214907 1625428 3183 0 263 1513 0 0
cpu1 1539294 57706 232664 1419324 6241 0 3142 1541 0 0
intr 1
"""
# version 1
CPU_STAT = "nr_periods 6\nnr_throttled 5\nthrottled_time {}\nnr_bursts 0\nburst_time 0\n"
# each recorded of a Python loop on a machine of two cores: before, after, and the seconds between
BESIDE_LOAD_ON_ITS_CORE = (
    recorded("20691052 23796743 8\n", 0.020975),
    recorded("130089421 216362723 58\n", 0.130377),
    0.30001,
)
WITH_A_QUOTA_OF_A_THIRD = (
    recorded("131011614 231348925 62\n", 0.131353),
    recorded("286231882 588185855 120\n", 0.286506, 223594946),
    0.511738,
)


@pytest.mark.parametrize(
    ("sample", "disturbance"),
    [
        ((ALONE[0], ALONE_AFTER, ALONE[1]), None),
        (BESIDE_LOAD_ON_ITS_CORE, Disturbance("waited for a core", "0.193 s, 64% of the call")),
        (
            WITH_A_QUOTA_OF_A_THIRD,
            Disturbance("the container's CPU limit held it back", "0.224 s, 44% of the call"),
        ),
    ],
    ids=["alone", "load on its core", "quota"],
)
@pytest.mark.parametrize("computes", [True, False])
def test_recorded_samples(sample, disturbance, computes):
    assert judge(*sample, computes).disturbance == disturbance


def one_thread(ran, waited, **others):
    return Counted(ran=ran, all_ran=ran, threads={1: (ran, waited)}, **others)


@pytest.mark.parametrize(
    ("after", "seconds", "kind"),
    [
        # a millisecond of a second, half of one of a call of ten: what a kernel thread takes
        (one_thread(0.999, 0.001), 1.0, None),
        (one_thread(0.0095, 0.0005), 0.010, None),
        (one_thread(0.98, 0.02), 1.0, "waited for a core"),
        (one_thread(0.007, 0.003), 0.010, "waited for a core"),
        (one_thread(0.95, 0.0, ticks=(96, 5)), 1.0, "the hypervisor took the core away"),
        # a single tick may be next to nothing
        (one_thread(0.495, 0.0, ticks=(49, 1)), 0.5, None),
        (one_thread(1.0, 0.0, suspended=30.0), 1.0, "the machine slept"),
        (one_thread(0.9, 0.0, faults=1000), 1.0, "read memory back from a disk"),
        # two that are each too small, and together are not
        (one_thread(0.984, 0.008, throttled=0.008, ticks=(98, 0)), 1.0, None),
        (one_thread(0.984, 0.008, faults=80), 1.0, "waited for a core"),
    ],
)
def test_what_is_too_much(after, seconds, kind):
    before = one_thread(0.0, 0.0, ticks=(0, 0), throttled=0.0, suspended=0.0)
    disturbance = judge(before, after, seconds, computes=False).disturbance
    assert (disturbance and disturbance.kind) == kind


def test_what_computes_and_does_not_run_stood_still():
    """Stopped by a signal, or frozen: no counter of waits tells of it."""
    after = one_thread(0.4, 0.0)
    assert judge(Counted(), after, 1.0, computes=True).disturbance == Disturbance(
        "stood still", "0.600 s, 60% of the call"
    )
    # what drives a GPU may sleep until it is done
    assert judge(Counted(), after, 1.0, computes=False).disturbance is None


@pytest.mark.parametrize(
    ("before", "after", "disturbance"),
    [
        (1.0, 1.15, None),
        (1.0, 1.6, Disturbance("the core was slow", "0.375 s, 38% of the call")),
        (1.6, 1.0, Disturbance("the core was slow", "0.375 s, 38% of the call")),
    ],
)
def test_a_core_that_is_slow_at_either_end(before, after, disturbance):
    samples = one_thread(0.0, 0.0, slowness=before), one_thread(1.0, 0.0, slowness=after)
    assert judge(*samples, 1.0, computes=False).disturbance == disturbance


def test_the_core_is_held_against_its_fast_tenth(machine, monkeypatch):
    """Not against the single fastest, which was luck."""
    clock = SimpleNamespace(now=0.0, probes=[0.5] + [1.0] * 28 + [1.5])

    def thread_time():
        clock.probing = not getattr(clock, "probing", False)
        clock.now += 0 if clock.probing else clock.probes.pop(0)
        return clock.now

    meter = machine({})
    monkeypatch.setattr(host.time, "thread_time", thread_time)
    slowness = [meter._slowness() for _ in range(30)]
    assert slowness[0] == 1
    assert slowness[-2:] == [1.0, 1.5]


def test_a_thread_that_does_not_compute_may_wait():
    threads = {1: (1.0, 0.0), 2: (0.001, 0.05)}
    after = Counted(ran=1.0, all_ran=1.001, threads=threads)
    assert judge(Counted(), after, 1.0, computes=True).disturbance is None
    threads[2] = (0.9, 0.05)
    assert judge(Counted(), after, 1.0, computes=True).wait_share == 0.05


known = st.none() | st.floats(0, 1e6)
counted = st.builds(
    Counted,
    suspended=known,
    threads=st.dictionaries(st.integers(1, 3), st.tuples(st.floats(0, 9), st.floats(0, 9))),
    ticks=st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99)),
    throttled=known,
)


@given(counted, counted, st.floats(0, 1e6), st.booleans())
def test_whatever_is_unknown_there_is_a_reading(before, after, seconds, computes):
    judge(before, after, seconds, computes)


@given(st.none() | st.text())
def test_files_of_another_form_tell_nothing(text):
    assert waits(text) is None
    assert ticks(text, {0}) is None
    assert throttled(text) is None


def test_a_kernel_that_does_not_count_waits():
    assert waits("0 0 0\n") is None


def test_steal_is_of_our_own_cores():
    assert ticks(STAT, {0}) == (1352471 + 60897 + 214907 + 263, 1513)
    both = ticks(STAT, {0, 1})
    assert both is not None
    assert both[1] == 1513 + 1541


@pytest.fixture
def machine(tmp_path):
    """Return a function that writes files of a machine, and makes its meter."""

    def make(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return HostMeter(computes=False, proc=tmp_path / "proc", cgroups=tmp_path / "cgroups")

    return make


@pytest.fixture
def steady_core(monkeypatch):
    """The core of these tests is a real one, and may be slow just now."""
    monkeypatch.setattr(HostMeter, "_slowness", lambda meter: 1.0)


@pytest.mark.usefixtures("steady_core")
@pytest.mark.parametrize(
    ("listed", "file"),
    [
        ("0::/pod/worker\n", "pod/worker"),
        ("0::/pod/worker\n", "pod"),
        # in a container: the path is the one outside, its own group stands at the root
        ("0::/docker/1234\n", "."),
        ("4:memory:/a\n1:cpu,cpuacct:/b\n0::/\n", "cpu,cpuacct/b"),
        ("1:cpu:/\n", "cpu"),
    ],
)
def test_a_quota_is_found_where_it_holds(machine, listed, file):
    quota = f"cgroups/{file}/cpu.stat"
    meter = machine({"proc/self/cgroup": listed, quota: "usage_usec 7\nthrottled_usec 0\n"})
    meter.start()
    machine({quota: "usage_usec 8\nthrottled_usec 120000\n"})
    disturbance = meter.stop(1.0).disturbance
    assert disturbance == Disturbance(
        "the container's CPU limit held it back", "0.120 s, 12% of the call"
    )


@pytest.mark.usefixtures("steady_core")
def test_a_machine_that_tells_nothing_disturbs_nothing(machine):
    meter = machine({})
    meter.start()
    read = meter.stop(1.0)
    assert read.disturbance is None
    assert read.wait_share is None


# waits in a process of its own: its core is shared with a loop that the test began there
BUSY = """
import os, sys, time
from worker.metrics import host
from worker.metrics.host import HostMeter
os.sched_setaffinity(0, {int(sys.argv[1])})
meter = HostMeter(computes=True)
meter.start()
start = time.perf_counter()
while time.perf_counter() < start + 0.3:
    pass
print(meter.stop(time.perf_counter() - start).disturbance)
"""


def test_load_on_the_same_core_disturbs():
    core = max(os.sched_getaffinity(0))
    neighbour = (
        f"import os; os.sched_setaffinity(0, {{{core}}}); print(flush=True)\nwhile True: pass"
    )
    with subprocess.Popen(
        [sys.executable, "-c", neighbour], stdout=subprocess.PIPE, text=True
    ) as load:
        assert load.stdout is not None
        load.stdout.readline()
        try:
            done = subprocess.run(
                [sys.executable, "-c", BUSY, str(core)], capture_output=True, text=True, check=True
            )
        finally:
            load.kill()
    assert done.stdout.startswith("waited for a core (")
