"""Runs the dispatcher in a fork of this process, and kills it at a chosen point of its I/O.

Every call by which the dispatcher touches the world is wrapped: files opened, written, synced, renamed,
removed, locked; processes started, ordered, signalled. A point is a call site in scheduler/ and whether the
call has happened yet. `note_points` lists those that a dispatcher comes by; `die_at` kills it at one of them.
"""

from __future__ import annotations

import builtins
import fcntl
import functools
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import scheduler
from scheduler.cli import main as commandline
from scheduler.cli import run as _preload  # noqa: F401  # imported once, before the forks
from scheduler.core import core
from scheduler.core import events as ev
from scheduler.core.verdict import Kind
from scheduler.dispatch import dispatcher
from scheduler.dispatch.attempts.running import RunningAttempt
from scheduler.executors.local import handles as processes
from scheduler.executors.local import supervisor
from scheduler.executors.local.preload import loaded

PACKAGE = str(Path(scheduler.__file__).parent)
TOUCHES_THE_WORLD: list[tuple[Any, str]] = [
    *(
        (os, name)
        for name in (
            "open",
            "write",
            "pwrite",
            "fsync",
            "rename",
            "unlink",
            "mkdir",
            "ftruncate",
            "close",
        )
    ),
    (fcntl, "flock"),
    (builtins, "open"),
    (io, "open"),
    (subprocess.Popen, "__init__"),
    (subprocess.Popen, "send_signal"),
    (signal, "pidfd_send_signal"),
    (processes.SupervisorHandle, "order"),
    (processes.SupervisorHandle, "release"),
    (loaded.LoadedParent, "__call__"),
    (loaded.LoadedParent, "end"),
]

Point = tuple[str, str]  # (call site, "before" or "after")


@contextmanager
def wrapped(reached: Callable[[Point], None], within: Sequence[str] = ()) -> Iterator[None]:
    """Call ``reached`` before and after every call that touches the world, made from scheduler/.

    Args:
        within: functions; where some are named, of the calls made by way of them alone.
    """

    def wrap(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            site = _site(name)
            if site is None or (within and not _called_by(within)):
                return original(*args, **kwargs)
            reached((site, "before"))
            result = original(*args, **kwargs)
            reached((site, "after"))
            return result

        return wrapper

    originals = [(owner, name, getattr(owner, name)) for owner, name in TOUCHES_THE_WORLD]
    for owner, name, original in originals:
        setattr(owner, name, wrap(name, original))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _site(name: str) -> str | None:
    """Return where in scheduler/ a call comes from; None for reads and for calls from elsewhere."""
    frame = sys._getframe(2)
    for _ in range(4):  # pathlib and subprocess lie between
        if frame is None:
            return None
        file = frame.f_code.co_filename
        if file.startswith(PACKAGE):
            caller = frame.f_back.f_code.co_name if frame.f_back else ""
            return f"{file[len(PACKAGE) + 1 :]}:{frame.f_lineno} {caller} {frame.f_code.co_name} {name}"
        if not file.endswith(("pathlib.py", "subprocess.py", "/_local.py", "contextlib.py")):
            return None
        frame = frame.f_back
    return None


def _called_by(functions: Sequence[str]) -> bool:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name in functions:
            return True
        frame = frame.f_back
    return False


def fork_dispatcher(
    words: list[str],
    output: Path,
    reached: Callable[[Point], None] | None = None,
    within: Sequence[str] = (),
) -> int:
    """Start ``python -m scheduler WORDS`` in a fork, in the folder of ``output``; return its process id.

    Args:
        words: of the command.
        output: where its output goes.
        reached: called at every point that it comes by; see `wrapped`.
        within: functions to which the points are limited.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        os.chdir(output.parent)
        core.DISK_CHECK = 0.05  # a pause is to be got over, not waited out
        dispatcher.Dispatcher._carry_out = patient(dispatcher.Dispatcher._carry_out)  # type: ignore[method-assign]
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        if reached is None:
            code = commandline.main(words)
        else:
            with wrapped(reached, within):
                code = commandline.main(words)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


CarryOut = Callable[[dispatcher.Dispatcher, ev.Action], None]


def patient(carry_out: CarryOut) -> CarryOut:
    """Have a time limit wait for the attempt's worker, which a loaded machine may start after it.

    And for the dispatcher to know that the attempt has begun: only then does it record why it stops it.
    """

    @functools.wraps(carry_out)
    def when_started(self: dispatcher.Dispatcher, action: ev.Action) -> None:
        limit = isinstance(action, ev.Stop) and action.verdict.kind is Kind.TIMEOUT
        attempt = self._attempts.running.get(action.task) if limit else None
        if attempt is None or (
            attempt.begun and _logged().count(f"start {attempt.task}") >= attempt.number
        ):
            carry_out(self, action)
        else:
            threading.Timer(0.005, try_again, [self, attempt, action]).start()

    def try_again(self: dispatcher.Dispatcher, attempt: RunningAttempt, action: ev.Action) -> None:
        def unless_over() -> None:
            if self._attempts.running.get(attempt.task) is attempt:
                when_started(self, action)

        self._inbox._callbacks.put(unless_over)
        _write(self._inbox._wake_in, b"\0")

    return when_started


def _logged() -> list[str]:
    try:
        return Path("event_log").read_text().split("\n")
    except FileNotFoundError:
        return []


def wait(pid: int) -> int:
    """Wait for a dispatcher; return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def note_points(listing: Path) -> Callable[[Point], None]:
    """Return what writes down every point that a dispatcher comes by; `read_points` reads it."""

    def reached(point: Point) -> None:
        descriptor = _open(listing, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        _write(descriptor, f"{point[0]}\t{point[1]}\n".encode())
        _close(descriptor)

    return reached


def read_points(listing: Path) -> list[Point]:
    """Return every distinct point that was noted, in order."""
    lines = dict.fromkeys(listing.read_text().splitlines())
    return [(site, phase) for site, phase in (line.split("\t") for line in lines)]


def die_at(point: Point) -> Callable[[Point], None]:
    """Return what kills a dispatcher that comes by ``point`` for the first time."""

    def reached(here: Point) -> None:
        if here == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


_open, _write, _close = os.open, os.write, os.close
assert supervisor  # the supervisors run as processes of their own, with the unwrapped calls
