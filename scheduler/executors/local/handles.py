"""Supervisors as the dispatcher sees them: started, adopted, stopped, never known by a bare pid."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scheduler.devices.lease import Lease
from scheduler.devices.processes import boot_id, start_ticks
from scheduler.executors.local import wire
from scheduler.storage.attempts_file import AttemptRecord
from scheduler.storage.regular_files import open_own

# The second for one that somebody stopped (SIGSTOP): the first would wait for its end.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGCONT)
# Imported rather than run as a script, which Python would compile anew at every start.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from scheduler.executors.local import supervisor; supervisor.main()"
)
SUPERVISOR = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(Path(__file__).resolve().parents[3])]


class SupervisorProcess(Protocol):
    """A supervisor's process, as whoever started it has it."""

    @property
    def pid(self) -> int: ...

    def send_signal(self, number: int, /) -> None: ...

    def wait(self) -> object:
        """Wait until it has ended, and let go of what is kept to know it by."""


# Starts a supervisor with these descriptors: orders, answers, and what it and its workers inherit.
Starter = Callable[[int, int, Sequence[int]], SupervisorProcess]


@dataclass(frozen=True, slots=True)
class Spawner:
    """Starts supervisors as programs of their own."""

    # Where their tracebacks are appended, should one ever fail.
    stderr_path: Path
    # Where they run, and workers do; None: in the current folder.
    folder: Path | None = None

    def __call__(self, orders: int, answers: int, inherited: Sequence[int]) -> SupervisorProcess:
        """Start one.

        Raises:
            OSError: no process could be started.
        """
        # Not our own standard error: whoever reads that must see its end when the dispatcher dies.
        with os.fdopen(open_own(self.stderr_path, os.O_WRONLY | os.O_APPEND), "ab") as stderr:
            return subprocess.Popen(
                SUPERVISOR,
                stdin=orders,
                stdout=answers,
                stderr=stderr,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=inherited,
            )


class SupervisorHandle:
    """A supervisor that this dispatcher started; see supervisor.py. It has its devices while it lives."""

    def __init__(
        self,
        leases: Sequence[Lease],
        setup: wire.Setup,
        start: Starter,
        heirloom: Sequence[int] = (),
    ) -> None:
        """Start it.

        Args:
            leases: of its devices, which it takes over.
            setup: what all its attempts have in common.
            start: how it is started.
            heirloom: further descriptors that it and its workers inherit.

        Raises:
            OSError: no process could be started.
        """
        self._begin(start, [*_descriptors(leases), *heirloom])
        self.order(setup)
        for lease in leases:
            lease.release()  # the supervisor holds it now, and holds it until the end of its attempt

    def _begin(self, start: Starter, inherited: Sequence[int]) -> None:
        """Start the process.

        Raises:
            OSError: it could not be started.
        """
        self._received = b""
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        try:
            self.process = start(orders, answers, inherited)
        except BaseException:
            self.release()
            raise
        finally:
            os.close(orders)
            os.close(answers)

    @property
    def pid(self) -> int:
        return self.process.pid

    def fileno(self) -> int:
        """Return the descriptor to wait on for `receive`."""
        return self._answers

    def order(self, order: wire.Setup | wire.Prepare | wire.Bind | wire.Run) -> None:
        """Send an order; a supervisor that is gone shows in `receive`."""
        data = memoryview(order.as_line())
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._orders, data) :]

    def receive(self) -> tuple[list[wire.Answer], bool]:
        """Return the answers that have come, and whether the supervisor is still there.

        What is no answer is passed over: it can only come from a worker that opened the pipe by /proc.
        """
        data = os.read(self.fileno(), 1 << 16)
        *lines, self._received = (self._received + data).split(b"\n")
        answers: list[wire.Answer] = []
        for line in lines:
            with contextlib.suppress(ValueError):
                answers.append(wire.parse(line))
        return answers, bool(data)

    def stop(self) -> None:
        """Ask the supervisor to stop its attempt, whole tree and all."""
        with contextlib.suppress(ProcessLookupError):
            for number in STOP_SIGNALS:  # our child, not yet reaped: the pid is its own
                self.process.send_signal(number)

    def release(self) -> None:
        """Let the supervisor go: at once if it is idle, else when its attempt is over."""
        for descriptor in (self._orders, self._answers):
            os.close(descriptor)

    def reap(self) -> None:
        """Wait for a released or dead supervisor."""
        self.process.send_signal(signal.SIGCONT)  # one that somebody stopped would never go
        self.process.wait()


class PreparingSupervisor(SupervisorHandle):
    """A supervisor without a device, whose worker prepares for one command."""

    def __init__(self, start: Starter, order: wire.Prepare) -> None:
        """Start it.

        Args:
            start: how; the first descriptor that it inherits is the one by which it gets others.
            order: what its worker prepares for.

        Raises:
            OSError: no process could be started.
        """
        self.command = order.command
        self._ways, its_way = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with its_way:
                self._begin(start, [its_way.fileno()])
        except BaseException:
            self._ways.close()
            raise
        self.order(order)

    def hand_over(self, leases: Sequence[Lease], setup: wire.Setup) -> None:
        """Give it its devices.

        Raises:
            OSError: it is gone; the leases are as they were.
        """
        with self._ways:
            socket.send_fds(self._ways, [b"!"], _descriptors(leases))
        self.order(setup)
        for lease in leases:
            lease.release()

    def end(self) -> None:
        """Have it end what it has prepared, and go; that is not waited for."""
        self._ways.close()
        self.release()


def _descriptors(leases: Sequence[Lease]) -> list[int]:
    return [descriptor for lease in leases for descriptor in lease.descriptors]


class AdoptedSupervisor:
    """The supervisor of an attempt that another dispatcher started; its end shows on `fileno`."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd

    @classmethod
    def find(cls, record: AttemptRecord) -> AdoptedSupervisor | None:
        """Return the supervisor of a running attempt, or None if it is gone.

        Its pid alone proves nothing: it must have been started when the record says, since this boot.
        """
        start = record.started
        if start.supervisor is None or start.boot != boot_id():
            return None
        pid = start.supervisor
        try:
            pidfd = os.pidfd_open(pid)
        except (OSError, OverflowError):
            return None
        with contextlib.suppress(OSError, ValueError, IndexError):
            if start_ticks(pid) == start.start_ticks:
                return cls(pid, pidfd)
        os.close(pidfd)
        return None

    def fileno(self) -> int:
        """Return the pidfd, which becomes readable when the supervisor ends."""
        return self._pidfd

    def stop(self) -> None:
        """Ask the supervisor to stop its attempt, whole tree and all."""
        with contextlib.suppress(ProcessLookupError):
            for number in STOP_SIGNALS:
                signal.pidfd_send_signal(self._pidfd, number)

    def release(self) -> None:
        """Forget it; it goes by itself when its attempt is over."""
        os.close(self._pidfd)
