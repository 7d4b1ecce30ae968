"""The journal: what happened, one JSON line per event. For people and views; decisions are not made by it."""

from __future__ import annotations

import dataclasses
import json
import mmap
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from scheduler.core.journal_events import (
    DispatcherStarted,
    Entry,
    JournalEvent,
    OnDevices,
    TaskWaits,
    UnlistedTask,
)
from scheduler.core.retry import RetryCode, RetryReason
from scheduler.core.snapshot import Snapshot
from scheduler.core.texts import retry_text
from scheduler.storage.attempts_file import devices_as_json, devices_in
from scheduler.storage.json_files import LARGEST, as_number, lines_of, parse_object
from scheduler.storage.regular_files import open_binary, open_own

_TYPES: dict[str, type[JournalEvent]] = {kind.NAME: kind for kind in get_args(JournalEvent)}
_TYPES["stranger"] = UnlistedTask  # as version 0.1.0 called it
# How its words for the reason of a retry began; it recorded no codes.
_WORDS_OF_VERSION_0_1_0 = {
    "out of memory: needs": RetryCode.NEEDS_MEMORY,
    "device error": RetryCode.DEVICE_ERROR,
}


class Journal:
    """Appends events; lines are written in batches by `flush`, and a full disk costs only the journal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[bytes] = []
        self._descriptor = _open(path)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self._pending = [b"\n"]  # a line that a crash cut off must not swallow the next one
        # Bytes that the file must have, unless somebody has cut it off.
        self._size = size

    def add(self, event: JournalEvent) -> Entry:
        """Add an event of now; return its entry."""
        entry = Entry(time.time(), event)
        self._pending.append(_as_line(entry))
        return entry

    def begin_anew_if_lost(self) -> bool:
        """Go on in a new file if somebody removed this one; say whether that is so, or it was cut off."""
        state = os.fstat(self._descriptor)
        if state.st_nlink:
            lost, self._size = state.st_size < self._size, state.st_size
            return lost
        try:
            descriptor = _open(self._path)
        except OSError:  # its folder is gone as well
            return False
        os.close(self._descriptor)
        self._descriptor, self._size = descriptor, 0
        return True

    def flush(self) -> bool:
        """Write what was added; what finds no room is kept for the next time. Say whether all is written.

        Not synced: losing the last lines in a power cut loses nothing that counts.
        """
        data = b"".join(self._pending)
        try:
            while data:
                written = os.write(self._descriptor, data)
                self._size += written
                data = data[written:]
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
    return open_own(path, os.O_RDWR | os.O_APPEND)


class JournalReader:
    """Iterates over a journal's entries, and counts the lines that cannot be read."""

    def __init__(self, path: Path, *, recent: bool = False) -> None:
        """Open nothing yet.

        Args:
            path: the journal; one that is not there has no entries.
            recent: begin with the last snapshot, so that no journal is too long to be looked at.
        """
        self._path = path
        self._recent = recent
        # Damaged, or of a kind that is not known here; grows as the entries are iterated over.
        self.unread = 0

    def __iter__(self) -> Iterator[Entry]:
        try:
            file = open_binary(self._path)
        except OSError:
            return
        with file:
            if self._recent:
                file.seek(_last_snapshot(file.fileno()))
            try:
                for line in lines_of(file):
                    if (entry := parse_entry(line)) is not None:
                        yield entry
                    elif line.endswith(b"\n"):  # else it is being written
                        self.unread += 1
            except OSError:  # its disk fails
                return


def _last_snapshot(descriptor: int) -> int:
    """Return where the line of the last snapshot begins, or 0."""
    try:
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
            mark = content.rfind(f'"event": "{Snapshot.NAME}"'.encode())
            return content.rfind(b"\n", 0, mark) + 1 if mark >= 0 else 0
    except (OSError, ValueError):  # it is empty
        return 0


# --- lines -------------------------------------------------------------------------------------------


def parse_entry(line: bytes) -> Entry | None:
    """Return the entry that a line is, or None if it is damaged or of a kind that is not known here."""
    content = parse_object(line)
    if content is None:
        return None
    at, kind = as_number(content.get("at")), content.get("event")
    if at is None or not isinstance(kind, str):
        return None
    if (event_type := _TYPES.get(kind)) is None:
        return None
    try:
        event = _adapter(kind).validate_python(_as_today(content, event_type))
    except ValidationError:
        return None
    return Entry(at, event) if _is_bounded(event) else None


@cache
def _adapter(kind: str) -> TypeAdapter[JournalEvent]:
    return TypeAdapter(_TYPES[kind])


def _as_today(content: dict[str, Any], event_type: type[JournalEvent]) -> dict[str, Any]:
    """Return a line of an earlier version as this one would have written it."""
    if event_type is TaskWaits and "reason" not in content:
        return content | {"reason": _reason(content.get("why"))}
    if issubclass(event_type, OnDevices):
        return content | {"devices": devices_in(content)}
    if event_type is DispatcherStarted:
        return _process_as_today(content)
    if event_type is Snapshot and isinstance(holder := content.get("holder"), dict):
        content = content | {"holder": _process_as_today(holder)}
    if event_type is Snapshot and isinstance(devices := content.get("devices"), dict):
        content = content | {"devices": {name: _device_as_today(d) for name, d in devices.items()}}
    if event_type is Snapshot and isinstance(tasks := content.get("tasks"), dict):
        return content | {"tasks": {name: _view_as_today(view) for name, view in tasks.items()}}
    return content


def _process_as_today(content: dict[str, Any]) -> dict[str, Any]:
    return {"start_ticks": content.get("birth"), **content}


def _device_as_today(view: object) -> object:
    """Return a device's view with the one task that ran on it, until several could, as one of a list."""
    if isinstance(view, dict) and "tasks" not in view:
        return view | {"tasks": [view["task"]] if view.get("task") else []}
    return view


def _view_as_today(view: object) -> object:
    if not isinstance(view, dict):
        return view
    if "devices" not in view:
        view = view | {"devices": devices_in(view)}
    if isinstance(words := view.get("waits"), str):
        view = view | {"waits": _reason(words)}
    return view


def _reason(words: object) -> RetryReason | None:
    """Return the reason that version 0.1.0 put into words."""
    if not isinstance(words, str):
        return None
    begins = (code for start, code in _WORDS_OF_VERSION_0_1_0.items() if words.startswith(start))
    return RetryReason(next(begins, RetryCode.OTHER), words=words)


def _as_line(entry: Entry) -> bytes:
    event = entry.event
    content = {"at": entry.at, "event": event.NAME, **_fields(event)}
    if isinstance(event, OnDevices):
        del content["devices"]
        content |= devices_as_json(event.devices)
    if isinstance(event, TaskWaits):
        content["why"] = retry_text(event.reason)
    return json.dumps(content, default=_plain).encode() + b"\n"


def _plain(value: object) -> object:
    """Return what is written of a value that JSON does not know."""
    if isinstance(value, RetryReason):
        return {key: field for key, field in _fields(value).items() if field not in (None, 0, ())}
    return _fields(value)


def _fields(value: object) -> dict[str, object]:
    assert dataclasses.is_dataclass(value)
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _is_bounded(value: object) -> bool:
    """Say whether all numbers in a value are within bounds: pydantic makes a number of "inf", too."""
    if isinstance(value, int | float):
        return -LARGEST <= value <= LARGEST
    if isinstance(value, list | tuple):
        return all(map(_is_bounded, value))
    if isinstance(value, dict):
        return all(map(_is_bounded, value.values()))
    kind: type = type(value)
    return all(_is_bounded(getattr(value, name)) for name in _number_fields(kind))


@cache
def _number_fields(kind: type) -> tuple[str, ...]:
    """Return the names of a dataclass's fields that may hold numbers; other types have none."""
    if not dataclasses.is_dataclass(kind):
        return ()
    return tuple(
        f.name for f in dataclasses.fields(kind) if f.type not in ("str", "str | None", "bool")
    )
