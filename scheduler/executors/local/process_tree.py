"""The processes below this one, and what proves which process is which; standard library only."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # as typing's; importing that would take a third of the start
if TYPE_CHECKING:
    from typing import Any


def identity() -> dict[str, Any]:
    """Return what proves, together with the lock, that a process is this supervisor."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    return {"supervisor": os.getpid(), "start_ticks": start_ticks(os.getpid()), "boot": boot}


def start_ticks(pid: int) -> int:
    """Return when a process was started, in clock ticks since boot.

    Raises:
        OSError: there is no such process, or only its exit status is left (where process 1 does
            not reap orphans, that is for ever).
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        raise ProcessLookupError
    return int(fields[19])


def descendants(ancestor: int) -> list[int]:
    """Return the process ids of all living descendants of a process, parents first."""
    if not os.path.exists("/proc/thread-self/children"):  # a kernel without this file
        return _descendants_by_scan(ancestor)
    found = list(_children(ancestor))
    for pid in found:
        found.extend(_children(pid))
    return found


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    children: list[int] = []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                children += map(int, file.read().split())
        except OSError:  # a thread that ended
            continue
    return children


def _descendants_by_scan(ancestor: int) -> list[int]:
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
    family = {ancestor}
    while True:
        new = {pid for pid, parent in parents.items() if parent in family} - family
        if not new:
            return sorted(family - {ancestor})
        family |= new


def ask_all_to_end() -> None:
    """Send SIGTERM to every descendant, and let those go on that are stopped: they could not heed it."""
    send_to_all(signal.SIGTERM)
    send_to_all(signal.SIGCONT)


def send_to_all(number: int) -> None:
    """Send a signal to every descendant."""
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def reap() -> bool:
    """Collect ended children; say whether any child is still there."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def kernel_oom_kills() -> int:
    """Return how many processes the kernel's OOM killer has ended since boot."""
    try:
        with open("/proc/vmstat", "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0
