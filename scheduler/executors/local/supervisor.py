"""A supervisor: the small process between dispatcher and worker that makes the dispatcher's death harmless.

There is one supervisor per device in use. It runs one attempt at a time, is the worker's parent, and lives in
a session of its own; so when the dispatcher dies, the worker goes on, and its exit status is not lost: the
supervisor writes it to the task's attempts file before it goes. It holds, and the worker inherits,

* the lock on the attempts file: while it is held, that attempt runs, whoever else is alive;
* the lease on the device, which it inherited from the dispatcher.

The kernel releases both when the last of the two processes dies. Being a subreaper, the supervisor sees every
descendant of the worker, those in sessions of their own too, and leaves none behind.

It imports nothing but the standard library, and two modules beside it that do the same: it must start in
milliseconds and be small, since there may be one for each of 16 GPUs for days. Orders come as JSON lines on
standard input, answers go to standard output. End of input: the dispatcher is gone or wants the device back;
go when the attempt is over. SIGTERM: stop the attempt.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import time

from scheduler.executors.local.attempt_files import Refused, append, lock_record, open_log, rotate
from scheduler.executors.local.process_tree import (
    ask_all_to_end,
    descendants,
    identity,
    kernel_oom_kills,
    reap,
    send_to_all,
)

TYPE_CHECKING = False  # as typing's; importing that, or contextlib, would take a third of the start
if TYPE_CHECKING:
    from typing import Any

PR_SET_CHILD_SUBREAPER = 36
DISK_CHECK = 1.0  # seconds between two tries to record an end for which there is no room
LEFTOVER_GRACE = 2.0  # seconds between TERM and KILL for what a worker that ended left behind
# A worker begins with no signal ignored, whatever Python, a supervisor, nohup or a script's `&` ignore.
DEFAULT_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class Supervisor:
    """Runs attempts one after the other on one device."""

    def __init__(self) -> None:
        self._orders = b""
        self._dispatcher_gone = False
        self._stop_asked = False
        self._kernel_oom_kills = kernel_oom_kills()
        self._identity = identity()
        # What all attempts on this device have in common.
        self._environment: dict[str, str] = {}
        self._bound = False
        self._wake_pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wake, wake_in = self._wake_pipe
        signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # seen through the wake pipe
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def serve(self) -> None:
        """Carry out orders until the dispatcher is gone."""
        while True:
            order = self._next_order()
            if order is None:
                return
            if order["type"] != "run":
                self._prepare(order)
                continue
            try:
                self._run(order)
            except Refused as refusal:
                self._answer("refused", reason=str(refusal))
            except OSError as error:
                self._answer("failed", errno=error.errno, error=error.strerror, file=error.filename)
            self._stop_asked = False

    def _prepare(self, order: dict[str, Any]) -> None:
        """Take what all attempts have in common, before the first of them."""
        self._environment = order["environment"]
        self._bound = bind(order["cpus"])

    def _next_order(self) -> dict[str, Any] | None:
        while b"\n" not in self._orders and not self._dispatcher_gone:
            self._wait(None)
            if not self._orders:  # a stop that came when its attempt was over already
                self._stop_asked = False
        line, separator, self._orders = self._orders.partition(b"\n")
        order: dict[str, Any] | None = json.loads(line) if separator else None
        return order

    def _wait(self, timeout: float | None, worker: int | None = None) -> bool:
        """Sleep until an order, a signal or the worker's end; say whether the worker (a pidfd) has ended."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if not self._dispatcher_gone:
            poll.register(0, select.POLLIN)
        if worker is not None:
            poll.register(worker, select.POLLIN)
        ended = False
        for descriptor, _ in poll.poll(
            None if timeout is None else max(0, int(timeout * 1000) + 1)
        ):
            if descriptor == worker:
                ended = True
            elif descriptor == self._wake:
                self._stop_asked |= signal.SIGTERM in os.read(self._wake, 64)
            else:
                data = os.read(0, 1 << 20)
                self._orders += data
                self._dispatcher_gone |= not data
        return ended

    def _answer(self, kind: str, **content: Any) -> None:
        """Say something to the dispatcher; messages.py names the same keys."""
        try:
            os.write(1, json.dumps({"type": kind, **content}).encode() + b"\n")
        except OSError:
            return  # nobody listens any more; the attempts file has it all

    def _run(self, order: dict[str, Any]) -> None:
        record = lock_record(order["attempts_file"], order["attempts_size"])
        try:
            if os.path.lexists(
                order["done_file"]
            ):  # a slow start: others have run the task meanwhile
                raise Refused("completed")
            rotate(order["log_file"], order["start"]["attempt"])
            log = open_log(order["log_file"])
            try:
                ended = self._attempt(order, record, log)
            finally:
                os.close(log)
        finally:
            os.close(record)
        self._answer("ended", end=ended)

    def _attempt(self, order: dict[str, Any], record: int, log: int) -> dict[str, Any]:
        """Record the attempt, run it, record its end; return that."""
        started = time.time()
        stamp = {"monotonic": time.monotonic(), "started": started}
        start = order["start"]
        if not self._bound:  # though it was to be
            start = {key: value for key, value in start.items() if key != "cores"}
        append(record, {**start, **self._identity, **stamp})
        try:
            environment = self._environment | order["environment"]
            worker = self._spawn(order["command"], environment, record, log)
        except OSError as error:
            ended = not_started(error)
        else:
            self._answer("started", pid=worker, at=started)
            ended = self._watch(worker, order["grace"])
        self._record_end(record, ended)
        return ended

    def _spawn(self, command: list[str], environment: dict[str, str], record: int, log: int) -> int:
        """Start the worker in a session of its own, its output in the log; return its process id.

        Raises:
            OSError: the program cannot be started; our own files are no reason for that.
        """
        os.set_inheritable(record, True)
        try:
            return os.posix_spawn(
                command[0],
                command,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log, 1),
                    (os.POSIX_SPAWN_DUP2, log, 2),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=DEFAULT_SIGNALS,
            )
        finally:
            os.set_inheritable(record, False)

    def _record_end(self, record: int, ended: dict[str, Any]) -> None:
        """Append the end, when there is room for it: a full disk must not cost finished work.

        Raises:
            OSError: there is no room, and the attempt was or is to be stopped.
        """
        while True:
            try:
                append(record, ended)
                return
            except OSError:
                if self._stop_asked:
                    raise
            self._wait(DISK_CHECK)

    def _watch(self, worker: int, grace: float) -> dict[str, Any]:
        """Wait until the worker and all its descendants are gone; return the record of the end."""
        pidfd = os.pidfd_open(worker)
        stopped = False
        kill_at: float | None = None
        while not self._wait(None if kill_at is None else kill_at - time.monotonic(), pidfd):
            if self._stop_asked and not stopped:
                stopped, kill_at = True, time.monotonic() + grace
                ask_all_to_end()
            if kill_at is not None and time.monotonic() >= kill_at:
                send_to_all(signal.SIGKILL)
                # Again, should something have been started meanwhile.
                kill_at = time.monotonic() + 0.1
        os.close(pidfd)
        ended_at = time.time()
        _, status, usage = os.wait4(worker, 0)
        leftovers = self._end_leftovers(0.0 if stopped else LEFTOVER_GRACE)
        code = os.waitstatus_to_exitcode(status)
        killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL)  # the latter told by a shell
        oom_kills = kernel_oom_kills() if killed else self._kernel_oom_kills
        oom_killed, self._kernel_oom_kills = oom_kills > self._kernel_oom_kills, oom_kills
        return {
            "ended": ended_at,
            "code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "oom_killed": oom_killed,
            "stopped": stopped,
            "leftovers": leftovers,
            "peak_memory": usage.ru_maxrss * 1024,
        }

    def _end_leftovers(self, grace: float) -> int:
        """Stop what the worker left behind, a session of its own or not; return how many there were."""
        reap()  # those that have ended are not left behind
        if not reap():  # any descendant alive would be a child of ours, or below one
            return 0
        left = descendants(os.getpid())
        kill_at = time.monotonic() + grace
        ask_all_to_end()
        while reap():  # each end is a SIGCHLD on the wake pipe
            if time.monotonic() >= kill_at:
                send_to_all(signal.SIGKILL)
                # Again, should something have been started meanwhile.
                kill_at = time.monotonic() + 0.1
            self._wait(kill_at - time.monotonic())
        return len(left)


def bind(cpus: list[int]) -> bool:
    """Keep this process, and all that it starts, on these CPUs; say whether it is on all of them."""
    try:
        os.sched_setaffinity(0, cpus)
    except (
        OSError
    ):  # the cpuset was changed, and has none of them any more; or there are none to bind to
        return False
    return os.sched_getaffinity(0) == set(cpus)


def not_started(error: OSError) -> dict[str, Any]:
    """Return the record of an attempt that never became a process."""
    return {
        "ended": time.time(),
        "code": None,
        "signal": None,
        "not_started": f"cannot start {error.filename}: {error.strerror}",
        "errno": error.errno,
    }


def main() -> None:
    """Carry out the orders on standard input until they end."""
    Supervisor().serve()
    os._exit(0)  # nothing is left to be done, and a device may be waited for
