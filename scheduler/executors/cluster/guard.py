"""On a node: the process above an attempt's supervisor, which ends the whole tree when its terms are over.

Below the guard is the supervisor, below that the worker. Should the supervisor be killed, the guard ends what
is left; should the guard be killed, the kernel tells the supervisor, which stops its attempt.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Protocol

from scheduler.executors.local import process_tree, supervisor

_LOOK = 500  # milliseconds between two looks at the terms
_PR_SET_PDEATHSIG = 1


class Terms(Protocol):
    """On what terms an attempt runs."""

    @property
    def revoked(self) -> bool:
        """Whether it is to be stopped."""

    @property
    def is_over(self) -> bool:
        """Whether nothing of it may live any more."""


class OneOrder(supervisor.Supervisor):
    """A supervisor of one attempt, whose orders are known from the start."""

    def __init__(self, orders: bytes) -> None:
        """Begin.

        Args:
            orders: all that it will ever be told.
        """
        super().__init__()
        self._orders, self._dispatcher_gone = orders, True


def fork_supervisor(make: Callable[[], OneOrder]) -> int:
    """Have a supervisor carry out its order in a child of this process; return the child's id."""
    ctypes.CDLL(None).prctl(supervisor.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        carrying_out = make()
        if os.getppid() == guard:
            carrying_out.serve()
        os._exit(0)
    return child


def guard(child: int, terms: Terms) -> None:
    """Wait for the supervisor's end, or bring it about; return when nothing below is left."""
    signal.signal(signal.SIGTERM, lambda *_: _tell(child, signal.SIGTERM))
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    told = False
    while not poll.poll(_LOOK):
        if terms.is_over:
            break
        if terms.revoked and not told:
            told = True
            _tell(child, signal.SIGTERM)
    while process_tree.reap():  # of an attempt whose supervisor was killed, or whose time is over
        process_tree.send_to_all(signal.SIGKILL)
        time.sleep(0.05)


def _tell(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)
