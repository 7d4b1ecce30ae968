"""The files by which dispatcher and node speak of one attempt, on the storage that both see.

=================  =======================================================================================
TOKEN.order        what the job is to run. Its job renames it to begin; whoever removes it first, the
                   dispatcher, can be sure that the attempt never begins, whatever Slurm does with the job
TOKEN.running      the permission to go on, and its proof: the job writes into it every few seconds; once it
                   is gone, or cannot be written for the time of the lease, the job ends its processes
TOKEN.answers      what the supervisor has to tell: see executors/local/wire.py
=================  =======================================================================================

Renaming and removing a file are one step each on NFS and Lustre, too, so of two that try, one succeeds.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scheduler.storage.json_files import as_number, parse_object, read_object
from scheduler.storage.regular_files import open_descriptor

_OF_OWNER = 0o600  # an order holds the worker's environment


class JobFiles:
    """The files of one attempt."""

    def __init__(self, folder: Path, token: str) -> None:
        self.token = token
        self.order = folder / f"{token}.order"
        self.running = folder / f"{token}.running"
        self.answers = folder / f"{token}.answers"

    # --- the dispatcher's side -----------------------------------------------------------------

    def write_order(self, content: Mapping[str, Any]) -> None:
        """Write what the job is to run.

        Raises:
            OSError: it could not be written.
        """
        self.order.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.order, flags, _OF_OWNER)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(content).encode())

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


def left_behind(folder: Path) -> Iterator[tuple[JobFiles, dict[str, Any]]]:
    """Yield the files of attempts that have an order or run, with the order, or the sign, of each."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        token, _, kind = name.partition(".")
        if kind in ("order", "running"):
            content = read_object(folder / name) or parse_object((JobFiles(folder, token)).sign())
            yield JobFiles(folder, token), content or {}
