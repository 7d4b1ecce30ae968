"""An attempt's files where its dispatcher is: what its node tells is written into them, nothing twice.

How much of a file is here already is told by its size: whoever looks after the attempt next goes on there.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scheduler.executors.local.attempt_files import (
    Refused,
    append,
    lock_record,
    open_log,
    rotate,
    take,
)
from scheduler.executors.ray.node_files import News, Offsets, digest_of
from scheduler.storage.attempts_file import EndLine, StartLine, read_attempts
from scheduler.storage.json_files import parse_object
from scheduler.storage.paths import size_of
from scheduler.storage.regular_files import create_draft, open_binary, open_descriptor

_PATIENCE = 30.0  # seconds until who looked after an attempt before has let go of it


class Home:
    """The files of one attempt."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._attempts = Path(order["home"]["attempts"])
        self._log = Path(order["home"]["log"])
        self._results = Path(order["home"]["results"])
        self._done = Path(order["home"]["done"])
        self._number: int = order["attempt"]
        self._token: str = order["token"]
        self._lock: int | None = None
        self.begun = self.ended = False

    def lock(self, size: int) -> None:
        """Take the lock of a new attempt.

        Args:
            size: bytes of the attempts file when it was last read.

        Raises:
            Refused: somebody else has run, or runs, the task.
            OSError: the file cannot be opened.
        """
        self._lock = lock_record(str(self._attempts), size)
        if os.path.lexists(self._done):
            self.close()
            raise Refused("completed")

    def lock_again(self, ask_to_leave: Callable[[], None]) -> bool:
        """Take the lock of an attempt that another has looked after; return whether that was possible."""
        until = time.monotonic() + _PATIENCE
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        while self._lock is None:
            with contextlib.suppress(OSError):
                lock = open_descriptor(self._attempts, flags)
                if take(lock):
                    self._lock = lock
                    break
                os.close(lock)
            if time.monotonic() > until:
                return False
            ask_to_leave()
            time.sleep(0.05)
        for attempt in read_attempts(self._attempts):
            if attempt.started.token == self._token:
                self.begun, self.ended = True, attempt.ended is not None
        return True

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def results_so_far(self) -> bytes:
        """Return what the results file holds."""
        try:
            with open_binary(self._results) as file:
                return file.read()
        except OSError:
            return b""

    def offsets(self, answers: int) -> Offsets:
        """Return how much is here, but for the answers, which are told and not kept."""
        return Offsets(answers, size_of(self._log) if self.begun else 0, size_of(self._results))

    def take(self, news: News) -> None:
        """Write what is new.

        Raises:
            OSError: it could not be written; what was is not asked for again.
        """
        assert self._lock is not None
        lines = [line for line in map(parse_object, news.record.splitlines()) if line is not None]
        for line in lines:
            if not self.begun and StartLine.parse(line) is not None:
                rotate(str(self._log), self._number)
                os.close(open_log(str(self._log)))
                append(self._lock, line)
                self.begun = True
        _append(self._log, news.log)
        _append(self._results, news.results)
        for line in lines if news.answers or news.over else ():
            if self.begun and not self.ended and EndLine.parse(line) is not None:
                append(self._lock, line)
                self.ended = True

    def complete(self, news: News, fetch: Callable[[str, int], bytes]) -> None:
        """Bring the rest: results where they were changed on the node, and pictures that are not here.

        Args:
            news: the last of the attempt.
            fetch: returns a piece of a file, empty at its end: of a picture, or of the results for "".

        Raises:
            OSError: it could not be written.
        """
        if digest_of(self._results) != news.results_digest:
            _replace(self._results, lambda offset: fetch("", offset))
        folder = self._results.with_suffix(".images")
        for name, size in news.pictures.items():
            path = folder / os.path.basename(name)
            if size_of(path) != size:
                folder.mkdir(exist_ok=True)
                _replace(path, lambda offset, name=name: fetch(name, offset))  # type: ignore[misc]

    def end_on_file(self) -> EndLine | None:
        """Return how the attempt ended, if that stands there."""
        for attempt in read_attempts(self._attempts):
            if attempt.started.token == self._token:
                return attempt.ended
        return None


def _append(path: Path, data: bytes) -> None:
    if not data:
        return
    descriptor = open_descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def _replace(path: Path, piece_at: Callable[[int], bytes]) -> None:
    descriptor, draft = create_draft(path)
    with os.fdopen(descriptor, "wb") as file:
        while piece := piece_at(file.tell()):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        draft.replace(path)
