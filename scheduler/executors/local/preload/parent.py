"""The loaded parent: a program that imports a worker's modules once, and forks supervisors from then on.

``parent.py MODULE FOLDER OWN_WORDS CPUS ROOM``; there is one for each dispatcher, at most. Orders come over
a socket, which is its standard input: each asks for a supervisor, and brings the descriptors that it is to
have: standard input and output, then leases and whatever else its workers inherit. The answer is the process
id, and with it a pidfd. The parent has no other thread when it forks, touches no device, and dies with its
dispatcher. Its supervisors, and the attempts below them, do not.

Standard library only, but for the module that it loads.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys

TYPE_CHECKING = False  # as typing's, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any, NoReturn

    from scheduler.executors.local.preload.shown import Shown

_PR_SET_PDEATHSIG = 1
_MOST_DESCRIPTORS = 250  # in one message; the kernel's limit is 253
_MOST_BYTES = 1 << 16


class Unusable(Exception):  # noqa: N818  # what is loaded, not this program, is at fault
    """Nothing can be forked here; the message says why."""


class Parent:
    """Forks supervisors as it is asked to."""

    def __init__(
        self, orders: socket.socket, module: ModuleType, own_words: int, shown: Shown
    ) -> None:
        self._orders = orders
        self._module = module
        self._own_words = own_words
        self._shown = shown
        # Of supervisors that were not reaped yet, by their pidfds.
        self._children: dict[int, int] = {}
        self._poll = select.poll()
        self._poll.register(orders, select.POLLIN)

    def serve(self, cpus: Sequence[int]) -> NoReturn:
        """Carry out orders until the dispatcher is gone.

        Args:
            cpus: what supervisors may run on, before they are told more.
        """
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._children:
                    self._reap(descriptor)
                else:
                    self._carry_out_next(cpus)

    def _reap(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        os.waitpid(self._children.pop(pidfd), 0)
        os.close(pidfd)

    def _carry_out_next(self, cpus: Sequence[int]) -> None:
        message, descriptors, _, _ = socket.recv_fds(self._orders, _MOST_BYTES, _MOST_DESCRIPTORS)
        if not message:
            os._exit(0)
        try:
            check_threads()
            pid = self._fork(cpus, descriptors, prepares=json.loads(message)["prepares"])
        except (OSError, Unusable) as error:
            answer(self._orders, "failed", why=str(error))
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)
        answer(self._orders, "forked", [pidfd], pid=pid)

    def _fork(self, cpus: Sequence[int], descriptors: Sequence[int], *, prepares: bool) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                self._become_supervisor(cpus, descriptors, prepares=prepares)
            except BaseException:  # noqa: BLE001  # whatever it is, it is not to go on as the parent
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)
        return pid

    def _become_supervisor(
        self, cpus: Sequence[int], descriptors: Sequence[int], *, prepares: bool
    ) -> NoReturn:
        from scheduler.executors.local.preload.forked import ForkedSupervisor

        os.setsid()
        os.sched_setaffinity(0, cpus)
        self._orders.close()
        for pidfd in self._children:
            os.close(pidfd)
        orders, answers, *inherited = descriptors
        os.dup2(orders, 0)
        os.dup2(answers, 1)
        os.close(orders)
        os.close(answers)
        way = socket.socket(fileno=inherited.pop(0)) if prepares else None
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        self._shown.show_words([sys.executable, "-m", "scheduler.executors.local.supervisor"])
        ForkedSupervisor(self._module, self._own_words, self._shown, way).serve()
        os._exit(0)


def answer(
    orders: socket.socket, kind: str, descriptors: Sequence[int] = (), **content: Any
) -> None:
    """Say something to the dispatcher; if that is gone, so is this process in a moment."""
    try:
        socket.send_fds(orders, [json.dumps({"type": kind, **content}).encode()], descriptors)
    except OSError:
        os._exit(0)


def check_threads() -> None:
    """Make sure that a fork would have all that this process has.

    Raises:
        Unusable: it has threads, which a fork has not, whatever they have locked.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise Unusable(
            f"it has started {threads - 1} thread(s), and only a process without can fork"
        )


def load(name: str, shown: Shown) -> ModuleType:
    """Import what attempts need; return the module by whose function main they run.

    Raises:
        Unusable: this process cannot fork attempts.
    """
    if not shown.is_known:
        raise Unusable("this kernel does not say where a process keeps its command line")
    module = importlib.import_module(name)
    if not callable(getattr(module, "main", None)):
        raise Unusable("it has no function main")
    check_threads()
    gc.collect()
    gc.freeze()  # or the first collection in each child would copy all of it
    return module


def main() -> None:
    """Load a module, say so, and fork supervisors until the dispatcher is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    orders = socket.socket(fileno=os.dup(0))
    if select.select([orders], [], [], 0)[
        0
    ]:  # it died before that call: nothing is sent before an answer
        os._exit(0)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    name, folder, own_words, cpus = sys.argv[1:5]
    from scheduler.executors.local.preload import forked as _loaded_before_all_else  # noqa: F401
    from scheduler.executors.local.preload.shown import ROOM_VARIABLE, Shown
    from scheduler.executors.local.supervisor import bind

    shown = Shown()
    shown.show_words([sys.executable, *sys.argv[:4]])
    os.environ.pop(ROOM_VARIABLE, None)
    allowed = sorted(os.sched_getaffinity(0))
    if cpus:
        bind(list(map(int, cpus.split(","))))
    sys.path[0] = folder
    sys.argv[1:] = []
    try:
        module = load(name, shown)
    except Unusable as why:
        answer(orders, "unusable", why=str(why))
        os._exit(1)
    except BaseException as error:  # noqa: BLE001  # whatever somebody's module raises
        sys.excepthook(*sys.exc_info())
        answer(orders, "unusable", why=f"{type(error).__name__}: {error}")
        os._exit(1)
    sys.stdout.flush()
    sys.stderr.flush()
    answer(orders, "ready", prepares=callable(getattr(module, "prepare", None)))
    Parent(orders, module, int(own_words), shown).serve(allowed)


if __name__ == "__main__":
    # Beside this file lie modules whose names others may bear; what is imported from here is of this package.
    sys.path[0] = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))
    main()
