"""A supervisor that is forked where a worker's modules are loaded, and forks its workers in turn.

It keeps all that supervisors promise, being one; only the start of a worker differs. Standard library only.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading

from scheduler.executors.local.preload.shown import Shown
from scheduler.executors.local.supervisor import DEFAULT_SIGNALS, Supervisor

TYPE_CHECKING = False  # as typing's, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NoReturn

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

    def __init__(self, main: Main, own_words: int, shown: Shown) -> None:
        """Begin.

        Args:
            main: called with a command's words behind the program that it names.
            own_words: how many words of a command name the program.
            shown: what is shown of this process.
        """
        super().__init__()
        self._main = main
        self._own_words = own_words
        self._shown = shown

    def _spawn(self, command: list[str], environment: dict[str, str], record: int, log: int) -> int:
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        os.set_inheritable(record, True)
        # Until it handles them as a worker does, a signal to the child would wake this process.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, DEFAULT_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(command, environment, (null, log, log))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.set_inheritable(record, False)
            os.close(null)
        return pid

    def _become_worker(
        self, command: Sequence[str], environment: Mapping[str, str], streams: Sequence[int]
    ) -> NoReturn:
        """Be what the command would be, once it had imported what is loaded here."""
        code = 1
        try:
            os.setsid()
            self._forget_signals()
            os.environ.clear()  # one by one, so that the C library has none of the old ones
            os.environ.update(environment)
            self._shown.show_variables(environment)
            self._shown.show_words(command)
            # Now that it can be found: by the end of these, the dispatcher sees that a supervisor was killed.
            for descriptor, stream in enumerate(streams):
                os.dup2(stream, descriptor)
            for descriptor in {*streams, *self._wake_pipe}:
                os.close(descriptor)
            sys.argv[:] = command[self._own_words - 1 :]
            code = run_to_end(self._main, list(command[self._own_words :]))
        except BaseException:  # noqa: BLE001  # whatever it is, it is not to go on as the supervisor
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _forget_signals(self) -> None:
        """Handle every signal as a Python that was just started, and none by way of the supervisor."""
        signal.set_wakeup_fd(-1)
        for number in DEFAULT_SIGNALS:
            signal.signal(number, _PYTHONS_OWN.get(number, signal.SIG_DFL))
        signal.pthread_sigmask(signal.SIG_SETMASK, [])


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
