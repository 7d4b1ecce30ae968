"""How much main memory there is for more, by the kernel and by the cgroups that this process is in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from scheduler.devices.cores.machine import control_groups

# What is used, what may be, by version 2 of cgroups and by version 1.
_FILES = {
    True: ("memory.current", "memory.max"),
    False: ("memory.usage_in_bytes", "memory.limit_in_bytes"),
}


def meminfo_file() -> Path:
    """Return the file that says what the machine has; where a container has one of its own, that is named."""
    return Path(os.environ.get("SCHEDULER_MEMINFO") or "/proc/meminfo")


def available(
    meminfo: Path | None = None,
    root: Path = Path("/sys/fs/cgroup"),
    groups: Path = Path("/proc/self/cgroup"),
) -> int | None:
    """Return how many bytes can be had without swapping; None: the kernel does not say.

    Args:
        meminfo: what the kernel says of the machine; None: `meminfo_file`.
        root: where cgroups' files are.
        groups: the file that says in which cgroups this process is.
    """
    of_machine = _figure(meminfo or meminfo_file(), "MemAvailable:")
    rooms = [*_rooms(root, groups), *([] if of_machine is None else [of_machine * 1024])]
    return min(rooms, default=None)


def _rooms(root: Path, groups: Path) -> Iterator[int]:
    """Yield what each cgroup with a limit has left; what files hold in memory gives way."""
    for folder, is_v2 in control_groups("memory", root, groups):
        used_name, limit_name = _FILES[is_v2]
        try:
            used = int((folder / used_name).read_text())
            limit = int((folder / limit_name).read_text())
        except (OSError, ValueError):  # not there, or "max": no limit
            continue
        cached = _figure(folder / "memory.stat", "inactive_file") or 0
        yield max(0, limit - used + cached)


def peak(pid: int) -> int:
    """Return the most memory in bytes that a process had so far; 0: not known."""
    return 1024 * (_figure(Path(f"/proc/{pid}/status"), "VmHWM:") or 0)


def _figure(file: Path, name: str) -> int | None:
    """Return the number behind a name at the beginning of a line."""
    try:
        for line in file.read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == name:
                return int(words[1])
    except (OSError, ValueError):
        pass
    return None
