"""The files by which dispatcher and node speak of one attempt, on the storage that both see.

=================  =======================================================================================
TIME.TOKEN.order   what is to be run. The job that renames it runs it; whoever removes it first, the
                   dispatcher, can be sure that the attempt never begins, whatever Slurm does with its jobs
TOKEN.running      the permission to go on, and its proof: the job writes into it every few seconds; once it
                   is gone, or cannot be written for the time of the lease, the job ends its processes
TOKEN.answers      what the supervisor has to tell: see executors/local/wire.py
=================  =======================================================================================

Renaming and removing a file are one step each on NFS and Lustre, too, so of two that try, one succeeds. An
order is no job's own: each job takes the oldest.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scheduler.storage.json_files import as_number, parse_object, read_object
from scheduler.storage.regular_files import open_descriptor

_OF_OWNER = 0o600  # an order holds the worker's environment
_DRAFT = ".draft"


class JobFiles:
    """The files of one attempt."""

    def __init__(self, folder: Path, token: str, order: str | None = None) -> None:
        """Name them.

        Args:
            folder: where they are.
            token: the attempt's.
            order: the name of its order, where that is known: it tells which is the oldest.
        """
        self.token = token
        self.order = folder / (order or f"{token}.order")
        self.running = folder / f"{token}.running"
        self.answers = folder / f"{token}.answers"

    @classmethod
    def newest(cls, folder: Path, token: str) -> JobFiles:
        """Return the files of an attempt whose turn is after all others'."""
        return cls(folder, token, f"{time.time_ns():020}.{token}.order")

    # --- the dispatcher's side -----------------------------------------------------------------

    def write_order(self, content: Mapping[str, Any]) -> None:
        """Write what is to be run.

        Raises:
            OSError: it could not be written.
        """
        self.order.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        draft = self.order.with_suffix(_DRAFT)  # a job may look at any moment
        descriptor = os.open(draft, flags, _OF_OWNER)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(content).encode())
            draft.rename(self.order)
        except OSError:
            draft.unlink()
            raise

    def withdraw(self) -> bool:
        """Take the order back; return whether it was there: then the attempt never begins."""
        try:
            self.order.unlink()
        except OSError:
            return False
        return True

    def revoke(self) -> None:
        """Take back the permission to go on."""
        with contextlib.suppress(OSError):
            self.running.unlink()

    def sign(self) -> bytes:
        """Return what changes as long as the job lives."""
        # Opened anew each time: NFS promises to look at the server's file only then.
        try:
            descriptor = open_descriptor(self.running)
        except OSError:
            return b""
        try:
            return os.read(descriptor, 1 << 12)
        except OSError:
            return b""
        finally:
            os.close(descriptor)

    def cpu_time(self) -> float:
        """Return the seconds of CPU time that the attempt has used, as its job last told."""
        return as_number((parse_object(self.sign()) or {}).get("cpu")) or 0.0

    def read_answers(self, offset: int) -> bytes:
        """Return the whole lines of the answers from an offset on."""
        try:
            descriptor = open_descriptor(self.answers)
        except OSError:
            return b""
        try:
            data = os.pread(descriptor, 1 << 16, offset)
        except OSError:
            return b""
        finally:
            os.close(descriptor)
        return data[: data.rfind(b"\n") + 1]

    def remove(self) -> None:
        """Remove all of them: the attempt is over."""
        for path in (self.order, self.running, self.answers):
            with contextlib.suppress(OSError):
                path.unlink()

    def taken_by(self) -> tuple[str, int] | None:
        """Return the token of the array whose job has taken the order, and which of it; None: not known."""
        sign = parse_object(self.sign()) or {}
        array, element = sign.get("array"), sign.get("element")
        if isinstance(array, str) and isinstance(element, int):
            return array, element
        return None

    # --- the job's side ------------------------------------------------------------------------

    def read_order(self) -> dict[str, Any] | None:
        """Return what is to be run; None: it was taken back, or is damaged."""
        return read_object(self.order)

    def claim(self) -> bool:
        """Begin, as the only one who can; return whether that is so."""
        try:
            self.order.rename(self.running)
        except OSError:
            return False
        return True

    def write_sign(self, content: Mapping[str, Any]) -> None:
        """Prove to be alive.

        Raises:
            FileNotFoundError: the permission to go on was taken back.
            OSError: it could not be written.
        """
        descriptor = open_descriptor(self.running, os.O_WRONLY)
        try:
            line = json.dumps(content).encode() + b"\n"
            os.pwrite(descriptor, line, 0)
            os.ftruncate(descriptor, len(line))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def orders(folder: Path) -> Iterator[JobFiles]:
    """Yield the files of attempts that nobody has begun, the oldest first."""
    names = sorted(name for name in _names(folder) if name.endswith(".order"))
    for name in names or _names_anew(folder):
        yield JobFiles(folder, _token(name), name)


def untaken(folder: Path) -> set[str]:
    """Return the tokens of attempts that nobody has begun."""
    return {_token(name) for name in _names(folder) if name.endswith(".order")}


def begun(folder: Path) -> Iterator[JobFiles]:
    """Yield the files of attempts that were begun."""
    for name in _names(folder):
        if name.endswith(".running"):
            yield JobFiles(folder, _token(name))


def left_behind(folder: Path) -> Iterator[tuple[JobFiles, dict[str, Any]]]:
    """Yield the files of attempts that have an order or run, with the order, or the sign, of each.

    What a dispatcher had not written to its end when it died is removed.
    """
    for name in sorted(_names(folder)):
        if name.endswith(_DRAFT):
            (folder / name).unlink(missing_ok=True)
        elif name.endswith((".order", ".running")):
            files = JobFiles(folder, _token(name), name if name.endswith(".order") else None)
            content = read_object(folder / name) or parse_object(files.sign())
            yield files, content or {}


def _token(name: str) -> str:
    return name.split(".")[-2]


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if "." in name]
    except OSError:
        return []


def _names_anew(folder: Path) -> list[str]:
    """Return the names of orders, though this node may have looked just before they were written.

    An NFS client asks the server for a folder's names again when it has changed the folder itself.
    """
    probe = folder / f"{os.uname().nodename}.{os.getpid()}.probe"
    try:
        probe.touch(mode=_OF_OWNER, exist_ok=False)
        probe.unlink()
    except OSError:
        return []
    return sorted(name for name in _names(folder) if name.endswith(".order"))
