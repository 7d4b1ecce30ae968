"""A worker that has prepared for its task and waits for a device; standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket

TYPE_CHECKING = False  # as typing's, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_DESCRIPTORS = 250  # in one message; the kernel's limit is 253
_MOST_BYTES = 1 << 20
_PATIENCE = 5.0  # seconds for a worker to go, which takes milliseconds
_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "/proc/self/oom_score_adj"


class PreparedWorker:
    """Such a worker as its supervisor has it."""

    def __init__(self, pid: int, orders: socket.socket, command: Sequence[str]) -> None:
        self._pid = pid
        self._orders = orders
        self._command = command

    def start(
        self, command: Sequence[str], environment: dict[str, str], descriptors: Sequence[int]
    ) -> int | None:
        """Have it run; return its process id, or None if it cannot.

        Args:
            command: what is to run.
            environment: of the worker.
            descriptors: its log, the attempts file, and what else it inherits.
        """
        if command != self._command:
            self.close()
            return None
        cpus = sorted(os.sched_getaffinity(0))
        go = json.dumps({"command": command, "environment": environment, "cpus": cpus}).encode()
        self._orders.settimeout(_PATIENCE)
        try:
            socket.send_fds(self._orders, [go], descriptors)
            goes = bool(self._orders.recv(1))
        except OSError:
            goes = False
        self.close()
        return self._pid if goes else None

    def bind(self, cpus: Sequence[int]) -> None:
        """Have all its threads run on these CPUs."""
        _bind_threads(self._pid, cpus)

    def has_ended(self) -> str | None:
        """Return how it has ended, though nobody asked it to; None: it has not."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        return (
            f"it ended with exit code {code}" if code >= 0 else f"it was killed by signal {-code}"
        )

    def close(self) -> None:
        """Have nothing more to say to it."""
        self._orders.close()


class Go:
    """The word to a worker that it is to run, with all that it lacked."""

    def __init__(self, content: bytes, descriptors: Sequence[int]) -> None:
        order = json.loads(content)
        self.command: list[str] = order["command"]
        self.environment: dict[str, str] = order["environment"]
        self._cpus: list[int] = order["cpus"]
        self.log, *self._inherited = descriptors

    @classmethod
    def receive(cls, orders: socket.socket) -> Go | None:
        """Wait for it; None: it will never come."""
        content, descriptors, _, _ = socket.recv_fds(orders, _MOST_BYTES, MOST_DESCRIPTORS)
        return cls(content, descriptors) if content else None

    def take_effect(self, orders: socket.socket) -> None:
        """Run where an attempt is to, outlive the supervisor from now on, and say so."""
        os.close(self.log)
        for descriptor in self._inherited:
            os.set_inheritable(descriptor, True)
        _bind_threads(os.getpid(), self._cpus)  # those that the preparation left behind as well
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
        _set_oom_score(-_MORE)
        orders.send(b"!")
        orders.close()


def _bind_threads(pid: int, cpus: Sequence[int]) -> None:
    """Keep all threads of a process on these CPUs."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cpus)


_MORE = 500


def be_first_for_the_oom_killer() -> None:
    """Have the kernel end this process before any attempt, should memory run short."""
    _set_oom_score(_MORE)


def _set_oom_score(more: int) -> None:
    try:
        with open(_OOM_SCORE, "r+") as file:
            score = int(file.read()) + more
            file.seek(0)
            file.write(str(min(1000, score)))
    except OSError:
        pass  # not where it is not allowed


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, whose process id that was."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def redirect(streams: Sequence[int]) -> None:
    """Make these descriptors standard input, output and error, and close them."""
    for descriptor, stream in enumerate(streams):
        os.dup2(stream, descriptor)
    for stream in set(streams):
        os.close(stream)


def copy(output: int, log: int) -> None:
    """Append what a file in memory holds to a log, and let go of it."""
    size = os.fstat(output).st_size
    written = 0
    while written < size:
        written += os.write(log, os.pread(output, 1 << 20, written))
    os.close(output)


def answer_prepared(answers: int, why: str | None) -> None:
    """Tell the dispatcher that this worker is prepared, or why it never will be."""
    os.write(answers, json.dumps({"type": "prepared", "why": why}).encode() + b"\n")
    os.close(answers)
