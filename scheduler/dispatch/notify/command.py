"""One run of a command that tells others: bounded in time and output, whatever the command does."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from scheduler.config.units import format_duration, format_size
from scheduler.storage.regular_files import open_own

MOST_OUTPUT = 1 << 20  # bytes of one run
_TOO_LONG = "ran for too long"
MOST_LOG = 4 << 20  # bytes after which the log begins anew


def run_command(
    words: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    limit: float,
    stop: int,
    key: str,
) -> str | None:
    """Run a command to its end, and that of all that holds its output; return what went wrong, if anything.

    It has a session of its own, no input, and no descriptor of ours; what it prints is appended to the log.

    Args:
        words: the program and its words; no shell reads them.
        environment: all of its variables.
        log: the file, which may find no room.
        limit: seconds after which its process group is killed.
        stop: a descriptor; once it is readable, the group is killed at once.
        key: what the sweep file calls the limit.
    """
    try:
        process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # the latter: a character that no variable can hold
        return f"cannot be started: {getattr(error, 'strerror', None) or error}"
    assert process.stdout is not None
    with process.stdout as output, _Log(log) as file:
        why = _follow(process.pid, output.fileno(), file, limit, stop)
        if why == _TOO_LONG:
            why = f"was ended: it ran for more than {format_duration(limit)} ({key})"
        if why is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # not yet reaped: the group is its own
        code = process.wait()
    if why is None and code:
        why = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return why and f"{why}; what it printed is in {log}"


def _follow(pid: int, output: int, log: _Log, limit: float, stop: int) -> str | None:
    """Copy what a process prints until it and its output have ended; return why it must not go on."""
    due = time.monotonic() + limit
    ended = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            for descriptor in (output, ended, stop):
                selector.register(descriptor, selectors.EVENT_READ)
            while len(selector.get_map()) > 1:  # more than `stop`
                ready = [key.fd for key, _ in selector.select(max(0.0, due - time.monotonic()))]
                if stop in ready:
                    return "was ended, since the dispatcher was told to leave"
                if time.monotonic() >= due:
                    return _TOO_LONG
                if output in ready and not log.copy_from(output):
                    selector.unregister(output)
                if log.copied > MOST_OUTPUT:
                    return f"was ended: it printed more than {format_size(MOST_OUTPUT)}"
                if ended in ready:
                    selector.unregister(ended)
    finally:
        os.close(ended)
    return None


class _Log:
    """The file that output goes to; where that fails, it goes nowhere."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        self.copied = 0
        with contextlib.suppress(OSError):
            self._descriptor = open_own(path, os.O_WRONLY | os.O_APPEND)
            if os.fstat(self._descriptor).st_size > MOST_LOG:
                os.ftruncate(self._descriptor, 0)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def copy_from(self, output: int) -> bool:
        """Copy what is there to be read; say whether more can come."""
        data = os.read(output, 1 << 16)
        room = max(0, MOST_OUTPUT - self.copied)
        self.copied += len(data)
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, data[:room])
        return bool(data)
