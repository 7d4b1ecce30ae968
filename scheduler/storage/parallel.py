"""Work shared out over the machine's cores, for what a thread cannot speed up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

_T = TypeVar("_T")
Findings = dict[str, str]

WORTH_A_PROCESS = 10_000  # items; a process begins and ends in the time of a few hundred


def fork_map(work: Callable[[Sequence[_T]], Findings], items: Sequence[_T]) -> Findings:
    """Return ``work(items)``, found by several processes if there are many items.

    They are forked, so they see what this process sees; call it where no threads run. What one of them
    does not answer, because it was killed, is worked out here.
    """
    count = max(1, min(len(os.sched_getaffinity(0)), len(items) // WORTH_A_PROCESS))
    size = max(1, -(-len(items) // count))
    mine, *others = [items[first : first + size] for first in range(0, len(items), size)] or [items]
    helpers = [(part, *_fork(work, part)) for part in others]
    found = work(mine)
    for part, pid, answer in helpers:
        with open(answer, "rb") as file:
            answer_bytes = file.read()
        _, status = os.waitpid(pid, 0)
        found |= json.loads(answer_bytes) if status == 0 else work(part)
    return found


def _fork(work: Callable[[Sequence[_T]], Findings], part: Sequence[_T]) -> tuple[int, int]:
    """Return the process id of a helper and the pipe on which it answers."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        with open(writing, "wb") as file:
            file.write(json.dumps(work(part)).encode())
        os._exit(0)
    finally:  # whatever happened: nothing of the caller's goes on here
        os._exit(1)
