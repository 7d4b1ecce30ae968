"""What the kernel and the user database tell of processes."""

from __future__ import annotations

import pwd
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple


class ProcessStat(NamedTuple):
    """What ``/proc/PID/stat`` says of a process."""

    # One letter, as ps shows it; Z and X: it is dead, and only its exit status is left.
    state: bytes
    parent: int
    # CPU time of its own and of its children that have ended, in clock ticks.
    cpu_ticks: int
    # When it was started, in clock ticks since boot.
    start_ticks: int


def read_stat(pid: int) -> ProcessStat:
    """Return what the kernel says of a process.

    Raises:
        OSError: there is none of that number, or it cannot be seen.
    """
    # The name, in brackets, may hold anything, brackets too.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    if len(fields) < 20:
        raise ProcessLookupError
    return ProcessStat(
        fields[0], int(fields[1]), sum(int(ticks) for ticks in fields[11:15]), int(fields[19])
    )


def start_ticks(pid: int) -> int:
    """Return when a living process was started, in clock ticks since boot: with its pid, its identity.

    Raises:
        OSError: there is no such process, or only its exit status is left (where process 1 does
            not reap orphans, that is for ever).
    """
    stat = read_stat(pid)
    if stat.state in (b"Z", b"X"):
        raise ProcessLookupError
    return stat.start_ticks


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return what tells this boot of the machine from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@lru_cache(maxsize=256)
def user_name(uid: int) -> str:
    """Return a user's name, or the number where it has none; the look-up may ask a server once."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)
