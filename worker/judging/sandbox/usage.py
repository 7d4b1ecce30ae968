"""What a judged program uses: its processes, and all the memory that they hold.

For jail.py, which runs as a script: standard library alone.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

SHARED_MEMORY = "/dev/shm"  # noqa: S108  # a mount of the program's own


def descendants(root: int) -> list[int]:
    """Return the processes below one, oldest first."""
    found: list[int] = []
    waiting = [root]
    while waiting and len(found) < 10_000:
        process = waiting.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{task}/children", encoding="ascii") as file:
                    children = [int(word) for word in file.read().split()]
                found.extend(children)
                waiting.extend(children)
    return found


def memory_of(processes: list[int], config: dict[str, Any], confined: dict[str, bool]) -> int:
    """Return the bytes of memory that these processes hold, at least.

    What two of them share counts for each, and a file in memory counts where it lies and where it
    is mapped: rather twice than never.
    """
    used = sum(_resident(process) for process in processes) + _nameless_files(processes)
    if confined["files"]:
        used += _written(processes, config)
    if confined["processes"] and not config["bubblewrap"]:
        used += _segments()  # with it comes an IPC namespace: all segments are the program's
    return used


def _written(processes: list[int], config: dict[str, Any]) -> int:
    """Return the bytes of the files that the program has written to its folders."""
    folders = (config["folder"], SHARED_MEMORY)
    roots = [""]
    if config["bubblewrap"]:
        outside = os.stat(config["folder"]).st_dev
        roots = [f"/proc/{process}/root" for process in processes]
    for root in roots:
        with contextlib.suppress(OSError):
            # Until bubblewrap has mounted it, a process sees the folder outside.
            if root and os.stat(root + config["folder"]).st_dev == outside:
                continue
            rooms = [os.statvfs(root + folder) for folder in folders]
            return sum((room.f_blocks - room.f_bfree) * room.f_frsize for room in rooms)
    return 0


def _resident(process: int) -> int:
    """Return a process's bytes in memory without those of files on a disk."""
    with contextlib.suppress(OSError, ValueError):
        with open(f"/proc/{process}/status", encoding="utf-8", errors="replace") as file:
            words = [line.split() for line in file if line.startswith(("RssAnon:", "RssShmem:"))]
        return sum(int(size) for _, size, _ in words) * 1024
    return 0


def _nameless_files(processes: list[int]) -> int:
    """Return the bytes of the files in memory (memfd) that these processes hold open."""
    sizes: dict[int, int] = {}
    for process in processes:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    found = os.stat(f"/proc/{process}/fd/{name}")
                    if found.st_dev == _NAMELESS:
                        sizes[found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _nameless_device() -> int:
    descriptor = os.memfd_create("")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


_NAMELESS = _nameless_device()


def _segments() -> int:
    """Return the bytes of System V shared memory: it stays when no process has it mapped."""
    try:
        with open("/proc/sysvipc/shm", encoding="ascii") as file:
            titles, *rows = (line.split() for line in file)
    except OSError:  # this kernel has none
        return 0
    place = titles.index("rss")
    return sum(int(row[place]) for row in rows)
