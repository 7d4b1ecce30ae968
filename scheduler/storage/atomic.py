"""Writing files so that they survive a crash and a power cut: whole, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scheduler.storage.regular_files import create_draft, open_descriptor, set_aside


class Draft:
    """An atomic, durable replacement of a file: written beside it, synced, then renamed over it.

    So the name holds either the old content or all of the new, whatever happens when. In three steps,
    since many drafts are synced at once for little more than the price of one: create it, `sync`,
    `publish`; then sync the folder. Each raises OSError and leaves nothing behind if it fails.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        # Open, and so locked, until it has its name: what others draft for the same path is another file.
        self._descriptor, self._temporary = create_draft(path.with_name(f".{path.name}.tmp"))
        try:
            _write_all(self._descriptor, content)
        except OSError:
            self._discard()
            raise

    def sync(self) -> None:
        """Make the content durable."""
        try:
            os.fsync(self._descriptor)
        except OSError:
            self._discard()
            raise

    def publish(self) -> None:
        """Give it its name; durable once the folder is synced. A folder of that name is set aside."""
        try:
            try:
                os.rename(self._temporary, self._path)
            except IsADirectoryError:
                set_aside(self._path)
                os.rename(self._temporary, self._path)
        except OSError:
            self._discard()
            raise
        self._close()

    def publish_if_none(self) -> bool:
        """Give it its name and say True, unless something of that name is there; then nothing is left."""
        try:
            os.link(self._temporary, self._path)
        except OSError:  # it is there; or the file system knows no second names
            if not os.path.lexists(self._path):
                self.publish()
                return True
            self._discard()
            return False
        self._discard()
        return True

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self._temporary.unlink()
        self._close()

    def _close(self) -> None:
        # Some files are locked by others once they have their name; a child that is being started may
        # have a copy of the descriptor, which would keep ours.
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)


def write_durably(path: Path, *lines: Mapping[str, Any]) -> None:
    """Replace one file by these lines of JSON, atomically and durably.

    Raises:
        OSError: it could not be written; what was there still is.
    """
    write_bytes_durably(path, as_lines(*lines))


def write_bytes_durably(path: Path, content: bytes) -> None:
    """Replace one file by ``content``, atomically and durably.

    Raises:
        OSError: it could not be written; what was there still is.
    """
    draft = Draft(path, content)
    draft.sync()
    draft.publish()
    sync_folder(path.parent)


def as_lines(*lines: Mapping[str, Any]) -> bytes:
    """Return lines of JSON as they stand in a file."""
    return "".join(json.dumps(line, default=str) + "\n" for line in lines).encode()


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line of JSON, whole or not at all.

    Raises:
        OSError: it could not be written.
    """
    descriptor = open_descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, json.dumps(line).encode() + b"\n")
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def why_not_writable(folder: Path) -> OSError | None:
    """Try to write into ``folder``; return what kept us from it, or None."""
    try:
        descriptor, probe = create_draft(folder / ".room")
    except OSError as error:
        return error
    try:
        _write_all(descriptor, b"\0" * 65536)
    except OSError as error:
        return error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
        os.close(descriptor)
    return None
