"""The journal: what happened, one JSON line per event. For people and views; decisions are not made by it."""

from __future__ import annotations

import json
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scheduler.storage.json_files import parse_object, read_objects

SNAPSHOT = "snapshot"  # the event that sums up all before it


class Journal:
    """Appends events; lines are written in batches by `flush`, and a full disk costs only the journal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[bytes] = []
        self._descriptor = _open(path)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self._pending = [b"\n"]  # a line that a crash cut off must not swallow the next one

    def add(self, event: str, **facts: Any) -> dict[str, Any]:
        """Add an event of now; return it."""
        entry = {"at": time.time(), "event": event, **facts}
        self._pending.append(json.dumps(entry, default=str).encode() + b"\n")
        return entry

    def begin_anew_if_removed(self) -> bool:
        """Go on in a new file if somebody removed this one; say whether."""
        if os.fstat(self._descriptor).st_nlink:
            return False
        try:
            descriptor = _open(self._path)
        except OSError:  # its folder is gone as well
            return False
        os.close(self._descriptor)
        self._descriptor = descriptor
        return True

    def flush(self) -> bool:
        """Write what was added; what finds no room is kept for the next time. Say whether all is written.

        Not synced: losing the last lines in a power cut loses nothing that counts.
        """
        data = b"".join(self._pending)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return False
        finally:
            self._pending = [data] if data else []
        return True

    def close(self) -> None:
        """Write the rest and close."""
        self.flush()
        os.close(self._descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield all events; lines that are damaged are passed over."""
    return read_objects(path)


def read_recent(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the last snapshot and the events since, so that no journal is too long to be looked at."""
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            mark = content.rfind(f'"event": "{SNAPSHOT}"'.encode())
            content.seek(content.rfind(b"\n", 0, mark) + 1 if mark >= 0 else 0)
            for line in iter(content.readline, b""):
                if (entry := parse_object(line)) is not None:
                    yield entry
    except (OSError, ValueError):  # there is none, or it is empty
        return
