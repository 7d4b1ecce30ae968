"""The CPU cores that this process may use, read from the kernel."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from scheduler.config.units import parse_cpus


@dataclass(frozen=True, slots=True)
class Core:
    """A physical core, as far as it may be used."""

    # The kernel's numbers of its CPUs (hardware threads), ascending; at least one.
    cpus: tuple[int, ...]
    # Its NUMA node; None: not known.
    node: int | None = None
    # An efficiency core of a hybrid processor, which computes more slowly than its other cores.
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What may be used of a machine's CPUs."""

    # In the order of nodes and CPU numbers.
    cores: tuple[Core, ...]
    # CPU time that the cgroup grants, in CPUs (seconds per second); None: no limit.
    quota: float | None = None

    @property
    def cpus(self) -> int:
        """How many CPUs (hardware threads) may be used."""
        return sum(len(core.cpus) for core in self.cores)


def read_machine(
    allowed: Collection[int],
    system: Path = Path("/sys"),
    groups: Path = Path("/proc/self/cgroup"),
) -> Machine:
    """Describe the cores that are allowed; what the kernel does not tell counts as not known.

    Args:
        allowed: the CPUs that this process may run on (os.sched_getaffinity, which leaves out CPUs that are
            offline or not in the process's cpuset).
        system: where sysfs and the cgroups' files are.
        groups: the file that says in which cgroups this process is.
    """
    node_of = {
        cpu: int(folder.name.removeprefix("node"))
        for folder in (system / "devices/system/node").glob("node[0-9]*")
        for cpu in _cpus_in(folder / "cpulist")
    }
    slow = _cpus_in(system / "devices/cpu_atom/cpus")
    cores: list[Core] = []
    seen: set[int] = set()
    for cpu in sorted(allowed):
        if cpu in seen:
            continue
        topology = system / f"devices/system/cpu/cpu{cpu}/topology"
        siblings = {cpu} | (_cpus_in(topology / "thread_siblings_list") & set(allowed)) - seen
        seen |= siblings
        cores.append(Core(tuple(sorted(siblings)), node_of.get(cpu), cpu in slow))
    cores.sort(key=lambda core: (core.node is None, core.node or 0, core.cpus))
    return Machine(tuple(cores), _quota(system / "fs/cgroup", groups))


def _cpus_in(file: Path) -> frozenset[int]:
    """Return the CPUs that a file of the kernel lists; none where it cannot be read."""
    try:
        return parse_cpus(file.read_text())
    except (OSError, ValueError):
        return frozenset()


def _quota(root: Path, groups: Path) -> float | None:
    """Return the least quota of CPU time of this process's cgroup and those above it, in CPUs."""
    limits: list[float] = []
    for folder, is_v2 in control_groups("cpu", root, groups):
        # Of v1, the two figures stand in two files.
        names = ("cpu.max",) if is_v2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        try:
            words = " ".join((folder / name).read_text() for name in names).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # not there, or "max": no limit
            continue
        if quota > 0 and period > 0:
            limits.append(quota / period)
    return min(limits, default=None)


def control_groups(
    controller: str,
    root: Path = Path("/sys/fs/cgroup"),
    groups: Path = Path("/proc/self/cgroup"),
) -> Iterator[tuple[Path, bool]]:
    """Yield the folders of this process's cgroup and of those above it, and whether they are of version 2.

    In a container the path may be the host's, of which only the mount's own folder is there.

    Args:
        controller: what is controlled, as the kernel calls it.
        root: where cgroups' files are.
        groups: the file that says in which cgroups this process is.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / controller if controllers else root
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            yield folder, not controllers
            if folder == mount:
                break
