"""Whose the processes on a device are, told from /proc."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from scheduler.devices.model import Reading
from scheduler.devices.processes import read_stat


def with_owners(reading: Reading, supervisors: Collection[int]) -> tuple[Reading, dict[int, int]]:
    """Return the reading with what has become of its processes since, and whose our own are.

    Those are given by their pid, each with that of the one among ``supervisors`` that it descends from.

    A worker may have ended between the reading and now; whose it was cannot be told any more, and it
    must not be taken for a foreign one: its attempt's failure would be laid to others.
    """
    if reading.processes is None:
        return reading, {}
    owners = {p.pid: owner_of(p.pid, supervisors) for p in reading.processes if p.exists}
    processes = tuple(
        replace(p, exists=False) if p.exists and owners[p.pid] is None else p
        for p in reading.processes
    )
    return replace(reading, processes=processes), {p: o for p, o in owners.items() if o}


def owner_of(pid: int, supervisors: Collection[int]) -> int | None:
    """Return the one of ``supervisors`` that a process is or descends from, or 0: it does from none.

    None if the process is gone by now.
    """
    found = _climb(pid, supervisors)
    if found is None and _parent(pid) is not None:
        # An ancestor died meanwhile, and its children have another parent; or it is another user's
        # and hidden, and it stays that way.
        found = _climb(pid, supervisors) or 0
    return found


def _climb(pid: int, supervisors: Collection[int]) -> int | None:
    """Return the first of ``supervisors`` on the way up from ``pid``, or 0; None if the way breaks off."""
    way: set[int] = set()
    while pid not in supervisors:
        parent = _parent(pid)
        if parent is None:
            return None
        way.add(pid)
        if parent <= 1 or parent in way:
            return 0
        pid = parent
    return pid


def _parent(pid: int) -> int | None:
    """Return a living process's parent, or None: it is gone, or cannot be seen."""
    try:
        return read_stat(pid).parent
    except OSError:
        return None
