"""What is left of an attempt whose supervisor was killed: found and ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from scheduler.executors.worker_process import TOKEN
from scheduler.storage.regular_files import open_binary

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0  # seconds between two looks


def end_orphans(attempts_file: Path, token: str | None) -> None:
    """End what is left of an attempt whose supervisor was killed; return when nothing of it lives.

    Its processes are found by the token in their environment, not by the lock on its file: Python's
    subprocess, for one, closes what a child would inherit. A holder of the lock without the token is
    waited for. Blocks: not for the dispatcher's loop.
    """
    pause = _FIRST_PAUSE
    while True:
        while token and _end_processes_with_token(token):
            pass  # one may have been started while we looked
        with contextlib.suppress(OSError), open_binary(attempts_file) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(pause)  # one may have been about to carry it
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
        return


def _end_processes_with_token(token: str) -> bool:
    """Kill all processes that carry ``token`` and wait for their ends; say whether there were any."""
    pidfds = list(_processes_with_token(token))
    for pidfd in pidfds:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    for pidfd in pidfds:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll()
        os.close(pidfd)
    return bool(pidfds)


def _processes_with_token(token: str) -> Iterable[int]:
    """Yield pidfds of the processes that carry ``token``."""
    mark = f"{TOKEN}={token}".encode()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            pidfd = os.pidfd_open(int(name))
        except OSError:
            continue
        try:  # read after the pidfd was opened: what is signalled is what was read
            carries = mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:
            carries = False
        if carries:
            yield pidfd
        else:
            os.close(pidfd)
