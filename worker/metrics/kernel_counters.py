"""What Linux counts of threads, cores, control groups and sleep: files of /proc and /sys, read.

Whatever is not there, may not be read or has another form is not known (None), and no error.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

# where hierarchies with processor time are mounted: version 2, beside version 1, version 1
_CGROUPS = ("", "unified", "cpu", "cpu,cpuacct")


def waits(schedstat: str | None) -> tuple[float, float] | None:
    """Return how long a thread was on a core, and how long it was ready and had none, in seconds.

    Args:
        schedstat: the text of its ``schedstat``: two times in nanoseconds, and how often it ran. A
            kernel that does not count says that it never ran.
    """
    words = (schedstat or "").split()
    if len(words) < 3 or not all(map(str.isdigit, words)) or words[2] == "0":
        return None
    return int(words[0]) / 1e9, int(words[1]) / 1e9


def ticks(stat: str | None, cores: set[int]) -> tuple[int, int] | None:
    """Return the ticks that some cores computed, and those that a hypervisor took from them.

    Args:
        stat: the text of ``/proc/stat``: of each core user, nice, system, idle, iowait, irq, softirq
            and steal, then what is in the first two already.
        cores: their numbers.
    """
    busy = stolen = 0
    for line in (stat or "").splitlines():
        name, _, rest = line.partition(" ")
        core, words = name.removeprefix("cpu"), rest.split()
        if core.isdigit() and int(core) in cores:
            if len(words) < 8 or not all(map(str.isdigit, words)):
                return None
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, words[:8])
            busy += user + nice + system + irq + softirq
            stolen += steal
    return (busy, stolen) if busy else None


def throttled(cpu_stat: str | None) -> float | None:
    """Return the seconds that a quota has held a control group back, summed over cores.

    Args:
        cpu_stat: the text of its ``cpu.stat``, of version 2 or 1.
    """
    units = {"throttled_usec": 1e6, "throttled_time": 1e9}
    for line in (cpu_stat or "").splitlines():
        name, _, value = line.partition(" ")
        if name in units and value.strip().isdigit():
            return int(value) / units[name]
    return None


def quotas(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Yield the ``cpu.stat`` of our control groups and of those above them: each may have a quota.

    In a container the path may be the one that is seen from outside; what is there then is the
    container's own group, in place of the root.
    """
    found = set()
    for line in (read(proc / "self/cgroup") or "").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = Path(path.lstrip("/"))
        for mounted in _CGROUPS:
            for at in (group, *group.parents):
                file = (cgroups / mounted / at / "cpu.stat").resolve()
                if file not in found and throttled(read(file)) is not None:
                    found.add(file)
                    yield file


def suspended() -> float | None:
    """Return for how many seconds the machine has slept: the one clock goes on then, the other stands."""
    try:
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    except OSError:
        return None


def read(path: Path) -> str | None:
    """Return a file's text, or None where it cannot be had."""
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        return None
