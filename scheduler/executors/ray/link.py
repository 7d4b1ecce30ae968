"""The dispatcher's end of its driver: the process is started, heard, and started again when it ends."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scheduler.executors.ray.messages import as_line
from scheduler.storage.json_files import parse_object

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0  # seconds until a driver that ended is started again
_PACKAGE = Path(__file__).resolve().parents[3]
# Neither the current folder nor a PYTHONPATH counts, should they have a module of that name.
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from scheduler.executors.ray.driver.main import main; sys.exit(main())"
)


def words(mode: str, address: str) -> list[str]:
    """Return the words by which a driver is started."""
    return [sys.executable, "-I", "-c", _PROGRAM, str(_PACKAGE), mode, address]


class Link(threading.Thread):
    """Starts drivers, one after the other, and hands on what they tell."""

    def __init__(self, address: str, log: Path, hear: Callable[[dict[str, Any]], None]) -> None:
        """Begin.

        Args:
            address: of Ray's head.
            log: takes what Ray prints.
            hear: takes each message, from this thread; of its own are ``down``, with a reason.
        """
        super().__init__(name="ray", daemon=True)
        self._address = address
        self._log = log
        self._hear = hear
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._is_there, self._closed = threading.Event(), threading.Event()

    def send(self, **order: Any) -> None:
        """Give an order; one that is lost is given again when the next driver is up."""
        self._orders.put(as_line(order))

    def finish(self) -> None:
        """Leave the driver to itself."""
        self._closed.set()
        self._orders.put(None)

    def _write(self) -> None:
        """Pass orders on; in a thread, since a driver that connects reads none."""
        while True:
            order = self._orders.get()
            self._is_there.wait()
            process = self._process
            assert process is not None
            assert process.stdin is not None
            with contextlib.suppress(OSError, ValueError):
                if order is None:
                    process.stdin.close()
                    return
                process.stdin.write(order)
                process.stdin.flush()

    def run(self) -> None:
        threading.Thread(target=self._write, daemon=True).start()
        pause = FIRST_PAUSE
        while not self._closed.is_set():
            why = "its driver has ended"
            for message in self._messages():
                if message["type"] == "error":
                    why = str(message["why"])
                else:
                    pause = FIRST_PAUSE
                    self._hear(message)
            if self._closed.is_set():
                return
            self._hear({"type": "down", "why": why})
            self._closed.wait(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Yield what a new driver tells until it ends."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            log = os.open(self._log, flags, 0o644)
        except OSError as error:
            yield {"type": "error", "why": f"{self._log}: {error.strerror}"}
            return
        try:
            process = subprocess.Popen(
                words("serve", self._address),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C is for the dispatcher, which it outlives.
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._process = process
        self._is_there.set()
        assert process.stdout is not None
        for line in process.stdout:
            if (message := parse_object(line)) is not None and "type" in message:
                yield message
        process.wait()
