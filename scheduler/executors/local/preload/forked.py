"""A supervisor that is forked where a worker's modules are loaded, and forks its workers in turn.

It keeps all that supervisors promise, being one; only the start of a worker differs. Standard library only.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import sys
import threading

from scheduler.executors.local.preload.prepared import (
    MOST_DESCRIPTORS,
    Go,
    PreparedWorker,
    answer_prepared,
    be_first_for_the_oom_killer,
    copy,
    die_with_parent,
    redirect,
)
from scheduler.executors.local.preload.shown import Shown
from scheduler.executors.local.supervisor import DEFAULT_SIGNALS, Supervisor, bind

TYPE_CHECKING = False  # as typing's, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType
    from typing import Any

    Main = Callable[[list[str]], object]

# As Python sets them when it starts.
_PYTHONS_OWN: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGXFSZ: signal.SIG_IGN,
}
_FLUSH_FAILED = 120  # as Python's own exit code for it


class ForkedSupervisor(Supervisor):
    """Runs attempts one after the other, each in a fork of this process."""

    def __init__(
        self,
        module: ModuleType,
        own_words: int,
        shown: Shown,
        way: socket.socket | None = None,
    ) -> None:
        """Begin.

        Args:
            module: whose ``main`` is called with a command's words behind the program that it names.
            own_words: how many words of a command name the program.
            shown: what is shown of this process.
            way: by which its devices' leases come; None: it has them.
        """
        super().__init__()
        self._module = module
        self._own_words = own_words
        self._shown = shown
        self._way = way
        # What workers inherit, as far as it came that way.
        self._leases: list[int] = []
        self._prepared: PreparedWorker | None = None

    def serve(self) -> None:
        super().serve()
        self._end_prepared()

    def _prepare(self, order: dict[str, Any]) -> None:
        if order["type"] == "prepare":
            orders, its_orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pid = self._fork(lambda: self._stand_by(order, orders, its_orders))
            its_orders.close()
            self._prepared = PreparedWorker(pid, orders, order["command"])
            return
        if order["type"] == "bind":
            if self._prepared is not None:
                self._prepared.bind(order["cpus"])
            return
        if self._way is not None:
            self._leases = socket.recv_fds(self._way, 1, MOST_DESCRIPTORS)[1]
            for descriptor in self._leases:
                os.set_inheritable(descriptor, True)
            self._way.close()
            self._way = None
        super()._prepare(order)

    def _wait(self, timeout: float | None, worker: int | None = None) -> bool:
        ended = super()._wait(timeout, worker)
        if self._prepared is not None and (why := self._prepared.has_ended()) is not None:
            self._prepared.close()
            self._prepared = None
            self._answer("prepared", why=why)
        return ended

    def _spawn(self, command: list[str], environment: dict[str, str], record: int, log: int) -> int:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            pid = prepared.start(command, environment, [log, record, *self._leases])
            if pid is not None:
                return pid
            self._end_leftovers(0.0)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        os.set_inheritable(record, True)
        try:
            return self._fork(lambda: self._run_worker(command, environment, (null, log, log)))
        finally:
            os.set_inheritable(record, False)
            os.close(null)

    def _end_prepared(self) -> None:
        """End a worker that never got anything to do, and what it has started."""
        if self._prepared is not None:
            self._prepared.close()
            self._prepared = None
        self._end_leftovers(0.0)

    def _fork(self, be: Callable[[], int]) -> int:
        """Have a child in a session of its own be something, and exit with the code that this returns."""
        # Until it handles them as a worker does, a signal to the child would wake this process.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, DEFAULT_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    os.setsid()
                    self._forget_signals()
                    code = be()
                except BaseException:  # noqa: BLE001  # whatever it is, it is not to go on as the supervisor
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(code)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def _forget_signals(self) -> None:
        """Handle every signal as a Python that was just started, and none by way of the supervisor."""
        signal.set_wakeup_fd(-1)
        for number in DEFAULT_SIGNALS:
            signal.signal(number, _PYTHONS_OWN.get(number, signal.SIG_DFL))
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for descriptor in self._wake_pipe:
            os.close(descriptor)

    # --- as a worker ---------------------------------------------------------------------------

    def _run_worker(
        self, command: Sequence[str], environment: Mapping[str, str], streams: Sequence[int]
    ) -> int:
        """Be what the command would be, once it had imported what is loaded here; return the exit code."""
        argv = self._appear(command, environment)
        # Now that it can be found: by the end of these, the dispatcher sees that a supervisor was killed.
        redirect(streams)
        return run_to_end(self._module.main, argv)

    def _appear(
        self, command: Sequence[str], environment: Mapping[str, str], *, of_attempt: bool = True
    ) -> list[str]:
        """Have the environment and the words of a command; return those that are its arguments."""
        os.environ.clear()  # one by one, so that the C library has none of the old ones
        os.environ.update(environment)
        self._shown.show_variables(environment, of_attempt=of_attempt)
        self._shown.show_words(command)
        sys.argv[:] = command[self._own_words - 1 :]
        return list(command[self._own_words :])

    def _stand_by(
        self, order: Mapping[str, Any], supervisors: socket.socket, orders: socket.socket
    ) -> int:
        """Prepare for a command, wait until it is to run, and run it; return the exit code."""
        die_with_parent(self._identity["supervisor"])
        supervisors.close()
        if self._way is not None:
            self._way.close()
        answers, output = os.dup(1), os.memfd_create("output")  # there is no log yet
        null, copy_of_it = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), os.dup(output)
        redirect((null, copy_of_it, copy_of_it))
        argv = self._appear(order["command"], order["environment"], of_attempt=False)
        bind(order["cpus"])
        be_first_for_the_oom_killer()
        try:
            self._module.prepare(argv)
        except BaseException as error:
            answer_prepared(answers, f"{type(error).__name__}: {error}")
            raise
        answer_prepared(answers, None)
        go = Go.receive(orders)
        if go is None:
            return 0
        self._appear(go.command, go.environment)
        sys.stdout.flush()
        sys.stderr.flush()
        copy(output, go.log)
        os.dup2(go.log, 1)
        os.dup2(go.log, 2)
        go.take_effect(orders)
        return run_to_end(self._module.main, argv)


def run_to_end(main: Main, argv: list[str]) -> int:
    """Call a worker's main, then do what Python does at the end of a program; return the exit code."""
    interrupted = False
    try:
        code = _exit_code(main(argv))
    except SystemExit as end:
        code = _exit_code(end.code)
    except BaseException as error:  # noqa: BLE001  # as Python does with what nobody has caught
        interrupted, code = isinstance(error, KeyboardInterrupt), 1
        traceback = error.__traceback__ and error.__traceback__.tb_next  # from main on
        sys.excepthook(type(error), error, traceback)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as multiprocessing has it do
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError:  # no room
            code = code or _FLUSH_FAILED
    ctypes.CDLL(None).fflush(None)  # what C code has printed
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return code


def _exit_code(value: object) -> int:
    """Return what a program's exit code is when it ends with this value, as sys.exit has it."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value & 0xFF
    print(value, file=sys.stderr)
    return 1
