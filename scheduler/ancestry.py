"""Whose child a process is, told from /proc."""

from __future__ import annotations

from collections.abc import Iterable


def own_processes(pids: Iterable[int], keepers: frozenset[int]) -> frozenset[int]:
    """Return those of ``pids`` that descend from one of our keepers."""
    return frozenset(pid for pid in pids if _ancestors(pid) & keepers)


def _ancestors(pid: int) -> frozenset[int]:
    line: set[int] = set()
    while pid > 1 and pid not in line:
        line.add(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return frozenset(line)
