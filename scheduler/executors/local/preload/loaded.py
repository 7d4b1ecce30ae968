"""The loaded parent as the dispatcher sees it: started, asked for supervisors, ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scheduler.executors.local.preload.command import Loading
from scheduler.executors.local.preload.shown import ROOM, ROOM_VARIABLE
from scheduler.storage.json_files import parse_object
from scheduler.storage.regular_files import open_own

PROGRAM = Path(__file__).with_name("parent.py")
PATIENCE = 5.0  # seconds for an answer, which takes milliseconds
# It loads no faster with more, and each would be a thread.
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ParentGone(OSError):  # noqa: N818  # a state of affairs
    """It forks nothing any more; the message says why."""


@dataclass(slots=True)
class ForkedProcess:
    """A supervisor that the loaded parent forked."""

    pid: int
    _pidfd: int

    def send_signal(self, number: int, /) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def wait(self) -> None:
        """Wait until it has ended; its parent collects how."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll()
        os.close(self._pidfd)


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


def has_said(what: _HasFileno) -> bool:
    """Say whether something can be read now, or is over."""
    poll = select.poll()
    poll.register(what, select.POLLIN)
    return bool(poll.poll(0))


class LoadedParent:
    """A process that loads a worker's modules, and forks supervisors once it has said to be ready."""

    def __init__(
        self,
        loading: Loading,
        environment: Mapping[str, str],
        cpus: Sequence[int],
        stderr_path: Path,
        folder: Path | None,
    ) -> None:
        """Start it.

        Args:
            loading: what it loads, and by which Python.
            environment: of the workers, as far as it depends on no device.
            cpus: where it loads; empty: anywhere.
            stderr_path: where is appended what is printed there.
            folder: where it runs; None: in the current folder.

        Raises:
            OSError: no process could be started.
        """
        # Whether workers can prepare for a task before its device is known.
        self.prepares = False
        self._orders, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._orders.settimeout(PATIENCE)
        variables = {
            **environment,
            **dict.fromkeys(_ONE_THREAD, "1"),
            # Without a driver, which refuses to work in a fork of a process that has used it.
            "CUDA_VISIBLE_DEVICES": "",
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            ROOM_VARIABLE: " " * ROOM,
        }
        words = [loading.program, str(PROGRAM), loading.module, loading.path]
        words += [str(loading.own_words), ",".join(map(str, cpus)), " " * ROOM]
        try:
            with (
                its_end,
                os.fdopen(open_own(stderr_path, os.O_WRONLY | os.O_APPEND), "ab") as stderr,
            ):
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    words,
                    stdin=its_end.fileno(),
                    stdout=stderr,
                    stderr=stderr,
                    cwd=folder,
                    env=variables,
                    start_new_session=True,
                )
        except BaseException:
            self._orders.close()
            raise

    @property
    def pid(self) -> int:
        pid: int = self._process.pid
        return pid

    def fileno(self) -> int:
        """Return the descriptor to wait on for `said`, and later for its end."""
        return self._orders.fileno()

    def said(self) -> str | None:
        """Return what it says of itself: None if it is ready, else why it is of no use."""
        try:
            message = parse_object(self._orders.recv(1 << 16))
        except OSError:
            message = None
        match message:
            case {"type": "ready", "prepares": bool(prepares)}:
                self.prepares = prepares
                return None
            case {"type": "unusable", "why": str(why)}:
                return why
        return "the process ended"

    def __call__(
        self, orders: int, answers: int, inherited: Sequence[int], *, prepares: bool = False
    ) -> ForkedProcess:
        """Have a supervisor forked; see `handles.Starter`.

        Args:
            orders: that it gets.
            answers: that it gives.
            inherited: by it, and by its workers.
            prepares: it has a worker prepare, and gets its devices by the first descriptor that it inherits.

        Raises:
            ParentGone: it cannot fork any more.
        """
        try:
            order = json.dumps({"prepares": prepares}).encode()
            socket.send_fds(self._orders, [order], [orders, answers, *inherited])
            data, descriptors, _, _ = socket.recv_fds(self._orders, 1 << 16, 1)
        except OSError as error:  # a time limit, too
            raise ParentGone(error.errno or 0, error.strerror or "it does not answer") from error
        match parse_object(data), descriptors:
            case {"type": "forked", "pid": int(pid)}, [pidfd]:
                os.set_inheritable(pidfd, False)
                return ForkedProcess(pid, pidfd)
            case {"type": "failed", "why": str(why)}, _:
                raise ParentGone(0, why)
        raise ParentGone(0, "the process ended")

    def end(self) -> None:
        """End it; what it forked goes on."""
        self._orders.close()
        self._process.kill()
        self._process.wait()
