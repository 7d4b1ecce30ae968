"""What other threads and signals have to say to the dispatcher's loop, behind one descriptor."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
from collections.abc import Callable, Iterator


class Inbox:
    """Callbacks posted by threads, and signals; each wakes whoever waits for `fileno`."""

    def __init__(self) -> None:
        self._callbacks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        """Return a descriptor that is readable after a post or a signal."""
        return self._wake_out

    def post(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called in the loop; safe from any thread."""
        self._callbacks.put(callback)
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake_in, b"\0")

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Have SIGINT, SIGTERM and SIGHUP end nothing, but come to `read`."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if (
            signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        ):  # as under nohup, where it goes on
            numbers.append(signal.SIGHUP)
        old = {number: signal.signal(number, lambda *_: None) for number in numbers}
        old_fd = signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)

    def read(self) -> list[signal.Signals]:
        """Return the signals that have come; does not wait."""
        try:
            return [signal.Signals(number) for number in os.read(self._wake_out, 4096) if number]
        except BlockingIOError:
            return []

    def call_all(self) -> None:
        """Call what was posted, and what these calls post."""
        while not self._callbacks.empty():
            self._callbacks.get()()

    def hear_while(self, more: Callable[[], object], interrupted: Callable[[], object]) -> None:
        """Call what is posted while there is ``more`` to come, and ``interrupted`` when a signal comes."""
        poll = select.poll()  # select takes no descriptor above 1023
        poll.register(self, select.POLLIN)
        while more():
            poll.poll()
            if self.read():
                interrupted()
            self.call_all()
