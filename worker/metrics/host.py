"""What the host did to a timed stretch: waits for a core, a hypervisor's and a container's share.

Of a call that depends on the CPU (on a GPU too: a small batch is launched kernel by kernel) the time
says as much of the neighbours as of the configuration. The kernel counts what it took away: how long
each thread was ready and had no core (schedstat), how long the hypervisor ran others on our cores
(steal, /proc/stat), how long a cgroup's quota held us back (cpu.stat). All of it is read before and
after a stretch, never within. What a kernel does not tell is not known, and disturbs nothing.

One thing no kernel counts: a core that is slower than it was, because it is hot, or because something
uses its caches or its other hyperthread (another virtual machine, say). On a rented H200 the same
20,000 kernel launches took from 0.29 to 0.47 s with next to no steal, and a loop of a millisecond
right before and after them told which (correlation 0.84). So such a loop is timed at both ends, and
held against the fastest that were seen.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker.metrics.kernel_counters import quotas, read, suspended, throttled, ticks, waits

# of the stretch: a figure that is good to 2 % can bear half of that. On an idle machine a thread that
# launches kernels waited for at most 0.02 % of its time, beside another one on its core for half of it
_TOLERATED_SHARE = 0.01
# seconds: no more than kernel threads take now and then, and less than one turn of a neighbour (3 ms)
_TOLERATED_SECONDS = 0.001
# seconds that it takes at least to read a page from a disk
_PER_FAULT = 0.0001
# a thread that wanted a core for less of the stretch did not compute
_COMPUTING_SHARE = 0.1
# steal is counted in whole ticks: a single one may be a tenth of one
_FEWEST_TICKS = 2

# turns of a loop that takes about half a millisecond
_PROBE_TURNS = 30_000
# how much longer than usual the loop may take. On that H200 it took twice as long now and then; where
# it kept to 1.2 at both ends, launches spread by 4 % in place of 12 %, and a lower limit gained nothing
_TOLERATED_SLOWNESS = 1.2
# loops that are looked back on; the fastest tenth of them is as fast as the core can be
_PROBES = 200


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Why a stretch does not count: a kind, by which they are counted, and what is known of this one."""

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


@dataclass(frozen=True)
class Counted:
    """What the kernel has counted until now; None, or no entry, where it does not tell."""

    ran: float = 0.0
    """Seconds that the calling thread was on a core."""
    all_ran: float = 0.0
    """Seconds that the process's threads were on cores altogether."""
    involuntary: int = 0
    """How often a core was taken away from the calling thread."""
    faults: int = 0
    """Pages of the process that were read from a disk."""
    suspended: float | None = None
    """Seconds that the machine has slept."""
    threads: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """Seconds that each thread was on a core, and seconds that it was ready and had none."""
    ticks: tuple[int, int] | None = None
    """Ticks that our cores computed for this machine, and that the hypervisor took from them."""
    throttled: float | None = None
    """Seconds that quotas have held our cgroups back, summed over cores."""
    slowness: float = 1.0
    """How many times as long as usual the core takes for the same work just now."""


@dataclass(frozen=True)
class HostReading:
    """What the host did to a stretch; None where it is not known."""

    cpu_seconds: float | None = None
    """CPU time of all threads of this process."""
    host_share: float | None = None
    """CPU time of the calling thread, as a share of the stretch."""
    wait_share: float | None = None
    """The longest wait of a thread for a core, as a share of the stretch."""
    slowness: float | None = None
    """How many times as long as usual the core took for the same work, at the slower end."""
    involuntary_switches: int | None = None
    """How often a core was taken away from the calling thread."""
    disturbance: Disturbance | None = None
    """Why the stretch does not count, and for how much of it."""


class HostMeter:
    """Reads what the kernel counts, at both ends of a stretch of the calling thread.

    Args:
        computes: whether this process's threads compute, as on a CPU. Otherwise they drive a device,
            which they may wait for, and only the calling one is looked at.
        proc: where the proc file system is.
        cgroups: where control groups are.
    """

    def __init__(
        self,
        computes: bool,
        proc: Path = Path("/proc"),
        cgroups: Path = Path("/sys/fs/cgroup"),
    ) -> None:
        self._computes = computes
        self._proc = proc
        self._quotas = list(quotas(proc, cgroups))
        self._before = Counted()
        self._probes: deque[float] = deque(maxlen=_PROBES)

    def start(self) -> None:
        """Begin a stretch."""
        slowness = self._slowness()
        self._before = self._count(slowness)

    def stop(self, seconds: float) -> HostReading:
        """End the stretch.

        Args:
            seconds: how long it took.
        """
        after = self._count()
        return judge(
            self._before, replace(after, slowness=self._slowness()), seconds, self._computes
        )

    def _slowness(self) -> float:
        """Return how many times as long as usual a loop takes."""
        # not the time of day: what waits for a core is counted apart
        start = time.thread_time()
        for _ in range(_PROBE_TURNS):
            pass
        took = time.thread_time() - start
        self._probes.append(took)
        usual = sorted(self._probes)[len(self._probes) // 10]
        return took / usual if usual > 0 else 1.0

    def _count(self, slowness: float = 1.0) -> Counted:
        used = resource.getrusage(resource.RUSAGE_THREAD)
        return Counted(
            ran=time.thread_time(),
            all_ran=time.process_time(),
            involuntary=used.ru_nivcsw,
            faults=resource.getrusage(resource.RUSAGE_SELF).ru_majflt,
            suspended=suspended(),
            threads=dict(self._threads()),
            ticks=ticks(read(self._proc / "stat"), os.sched_getaffinity(0)),
            throttled=_sum_known(throttled(read(path)) for path in self._quotas),
            slowness=slowness,
        )

    def _threads(self) -> Iterator[tuple[int, tuple[float, float]]]:
        own = self._proc / "self/task"
        try:
            ids = os.listdir(own) if self._computes else [str(threading.get_native_id())]
        except OSError:
            return
        for thread in ids:
            waited = waits(read(own / thread / "schedstat"))
            if waited is not None:
                yield int(thread), waited


def judge(before: Counted, after: Counted, seconds: float, computes: bool) -> HostReading:
    """Say what the host did to a stretch.

    Args:
        before: what was counted when it began.
        after: what was counted when it ended.
        seconds: how long it took.
        computes: see ``HostMeter``.
    """
    ran = after.ran - before.ran
    waited = _longest_wait(before, after, seconds)
    lost = _lost(before, after, seconds, waited or 0.0)
    if computes:
        all_ran = after.all_ran - before.all_ran
        # on a core, or kept from it: in a process that computes there is nothing else
        lost["stood still"] = max(0.0, seconds - all_ran - sum(lost.values()))
    slowness = max(before.slowness, after.slowness)
    if slowness > _TOLERATED_SLOWNESS:
        lost["the core was slow"] = (1 - 1 / slowness) * seconds
    disturbance = None
    if sum(lost.values()) > max(_TOLERATED_SECONDS, _TOLERATED_SHARE * seconds):
        kind = max(lost, key=lambda kind: lost[kind])
        disturbance = Disturbance(kind, _amount(lost[kind], seconds))
    return HostReading(
        cpu_seconds=after.all_ran - before.all_ran,
        host_share=ran / seconds if seconds > 0 else None,
        wait_share=None if waited is None or seconds <= 0 else waited / seconds,
        slowness=slowness,
        involuntary_switches=after.involuntary - before.involuntary,
        disturbance=disturbance,
    )


def _lost(before: Counted, after: Counted, seconds: float, waited: float) -> dict[str, float]:
    """Return about how many seconds were lost, by the kind of disturbance."""
    held_back = min(_grown(before.throttled, after.throttled), seconds)
    return {
        "the container's CPU limit held it back": held_back,
        # older kernels count the one as the other as well
        "waited for a core": max(0.0, waited - held_back),
        "the hypervisor took the core away": _stolen_share(before, after) * seconds,
        "read memory back from a disk": (after.faults - before.faults) * _PER_FAULT,
        "the machine slept": _grown(before.suspended, after.suspended),
    }


def _longest_wait(before: Counted, after: Counted, seconds: float) -> float | None:
    """Return the longest wait of a thread that computed; None where no thread's is known."""
    longest = 0.0 if after.threads else None
    for thread, (ran, waited) in after.threads.items():
        ran_before, waited_before = before.threads.get(thread, (0.0, 0.0))
        wanted = ran - ran_before + waited - waited_before
        if wanted >= _COMPUTING_SHARE * seconds:
            longest = max(longest or 0.0, waited - waited_before)
    return longest


def _stolen_share(before: Counted, after: Counted) -> float:
    """Return which share of the time that our cores had work the hypervisor took from them."""
    if before.ticks is None or after.ticks is None:
        return 0.0
    busy, stolen = (now - then for now, then in zip(after.ticks, before.ticks, strict=True))
    return stolen / (busy + stolen) if stolen >= _FEWEST_TICKS else 0.0


def _grown(before: float | None, after: float | None) -> float:
    return 0.0 if before is None or after is None else max(0.0, after - before)


def _amount(lost: float, seconds: float) -> str:
    share = f", {lost / seconds:.0%} of the call" if seconds > 0 else ""
    return f"{lost:.3f} s{share}"


def _sum_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
