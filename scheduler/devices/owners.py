"""Whose the processes on a device are, told from /proc."""

from __future__ import annotations

from dataclasses import replace

from scheduler.devices.model import Reading
from scheduler.devices.processes import read_stat


def with_owners(reading: Reading, supervisor: int | None) -> tuple[Reading, frozenset[int]]:
    """Return the reading with what has become of its processes since, and those of our own attempt.

    A worker may have ended between the reading and now; whose it was cannot be told any more, and it
    must not be taken for a foreign one: its attempt's failure would be laid to others.
    """
    if reading.processes is None:
        return reading, frozenset()
    supervisors = frozenset({supervisor} if supervisor is not None else ())
    own_by_pid = {p.pid: descends_from(p.pid, supervisors) for p in reading.processes if p.exists}
    processes = tuple(
        replace(p, exists=False) if p.exists and own_by_pid[p.pid] is None else p
        for p in reading.processes
    )
    own = frozenset(pid for pid, descends in own_by_pid.items() if descends)
    return replace(reading, processes=processes), own


def descends_from(pid: int, supervisors: frozenset[int]) -> bool | None:
    """Say whether a process is one of ``supervisors`` or descends from one; None if it is gone by now."""
    found = _climb(pid, supervisors)
    if found is None and _parent(pid) is not None:
        # An ancestor died meanwhile, and its children have another parent; or it is another user's
        # and hidden, and it stays that way.
        found = bool(_climb(pid, supervisors))
    return found


def _climb(pid: int, supervisors: frozenset[int]) -> bool | None:
    """Say whether one of ``supervisors`` is on the way up from ``pid``; None if the way breaks off."""
    way: set[int] = set()
    while pid not in supervisors:
        parent = _parent(pid)
        if parent is None:
            return None
        way.add(pid)
        if parent <= 1 or parent in way:
            return False
        pid = parent
    return True


def _parent(pid: int) -> int | None:
    """Return a living process's parent, or None: it is gone, or cannot be seen."""
    try:
        return read_stat(pid).parent
    except OSError:
        return None
