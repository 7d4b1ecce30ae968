"""The claims of all dispatchers that wait: notes in the folder of the leases, which all may write to.

A note is a small file of its writer's, made anew under a name of its own, and locked (flock) for as long as
the claim stands. So the note of a dispatcher that was killed is none, without anybody removing it; those of
our own user are removed when they are met.

Others may put anything there. A link, a pipe, a directory, a file of several names or of more than
`LARGEST` bytes is no note, nor is one that nobody holds or that does not say what a claim says. So many files
are looked at, so many read of each user, and no more time is spent on all of it than a tenth. What a note
says can cost others no more than `Leaving` allows; the user is the file's owner, not what it says.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from scheduler.config.sweep import MOST_PRIORITY
from scheduler.devices.fairness.claims import Claim
from scheduler.devices.lease import UNTRUSTED, LeaseFolderError, open_folder
from scheduler.storage.json_files import LARGEST as LARGEST_NUMBER
from scheduler.storage.json_files import as_number, parse_object

PREFIX = "waits-"
LARGEST = 1 << 15  # bytes of a note; sixteen GPUs of seven instances each take a fifth
MOST_FILES = 5000  # that are looked at in the folder
MOST_OF_ONE_USER = 32  # notes that are read
_REST = 10  # times as long as a look has taken, the next one is not due
# What a note holds beside the names of devices, and between which numbers that can be.
_BOUNDS = {
    "pid": (1, 1 << 31),
    "priority": (-MOST_PRIORITY, MOST_PRIORITY),
    "in_use": (0, 1 << 20),
    "more": (1, 1 << 20),
    "since": (0.0, LARGEST_NUMBER),
    "idle_for": (0.0, LARGEST_NUMBER),
    "at_once": (1, 1 << 20),
}


class Note:
    """Our own claim, for others to read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # None: none stands.
        self._descriptor: int | None = None
        self.name = _new_name()
        self._written = b""

    def write(self, claim: Claim) -> None:
        """Have the claim stand; where that cannot be, nobody hears of it, and leases go on as they do."""
        with suppress(OSError, LeaseFolderError):
            if self._descriptor is None or not os.fstat(self._descriptor).st_nlink:
                self.remove()
                self._make()
            # Never shorter than before, so that nobody reads the end of what stood there.
            data = _as_bytes(claim).ljust(len(self._written))
            if data != self._written and self._descriptor is not None:
                os.pwrite(self._descriptor, data, 0)
                self._written = data

    def remove(self) -> None:
        """Have no claim stand."""
        if self._descriptor is None:
            return
        with suppress(OSError, LeaseFolderError):
            directory = open_folder(self._folder)
            try:
                _remove(directory, self.name, self._descriptor)
            finally:
                os.close(directory)
        os.close(self._descriptor)
        self._descriptor, self._written = None, b""

    def _make(self) -> None:
        directory = open_folder(self._folder)
        try:
            self.name = _new_name()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | UNTRUSTED
            descriptor = os.open(self.name, flags, 0o644, dir_fd=directory)
            try:
                os.fchmod(descriptor, 0o644)  # for all users to read; open heeds the umask
                # Nobody locks an empty one but to be in our way; then there is none until next time.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                _remove(directory, self.name, descriptor)
                os.close(descriptor)
                raise
            self._descriptor = descriptor
        finally:
            os.close(directory)


class Notes:
    """The claims of others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._claims: list[Claim] = []
        self._fresh_until = 0.0

    def read(self, own: str) -> list[Claim]:
        """Return the claims that stand, but for our own, whose name is given."""
        begun = time.monotonic()
        if begun >= self._fresh_until:
            self._claims = []
            with suppress(OSError, LeaseFolderError):
                self._claims = list(_read_all(self._folder, own))
            ended = time.monotonic()
            self._fresh_until = ended + _REST * (ended - begun)
        return self._claims


def _new_name() -> str:
    return f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex[:12]}"


def _remove(directory: int, name: str, descriptor: int) -> None:
    """Remove a file of ours if the name is still its own."""
    with suppress(OSError):
        named = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if os.path.samestat(named, os.fstat(descriptor)):
            os.unlink(name, dir_fd=directory)


def _read_all(folder: Path, own: str) -> Iterator[Claim]:
    directory = open_folder(folder)
    try:
        looked_at = Counter[int]()
        with os.scandir(directory) as entries:
            for entry in islice(entries, MOST_FILES):
                if not entry.name.startswith(PREFIX) or entry.name == own:
                    continue
                with suppress(OSError):
                    owner = entry.stat(follow_symlinks=False).st_uid
                    looked_at[owner] += 1
                    if looked_at[owner] > MOST_OF_ONE_USER:
                        continue
                    claim = _read(directory, entry.name)
                    if claim is not None:
                        yield claim
    finally:
        os.close(directory)


def _read(directory: int, name: str) -> Claim | None:
    """Return the claim that a file holds; None: it holds none, or nobody holds the file.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(name, os.O_RDONLY | UNTRUSTED, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_nlink != 1
            or not 0 < status.st_size <= LARGEST
        ):
            return None
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if status.st_uid == os.geteuid():
                _remove(directory, name, descriptor)
            return None
        content = parse_object(os.pread(descriptor, LARGEST, 0))
    finally:
        os.close(descriptor)
    return None if content is None else _as_claim(name, status.st_uid, content)


def _as_bytes(claim: Claim) -> bytes:
    content = {key: getattr(claim, key) for key in _BOUNDS}
    return json.dumps(content | {"devices": sorted(claim.devices)}).encode() + b"\n"


def _as_claim(name: str, uid: int, content: dict[str, Any]) -> Claim | None:
    """Return what a note says, if it can be."""
    numbers = {
        key: value
        for key, (least, most) in _BOUNDS.items()
        if (value := as_number(content.get(key))) is not None and least <= value <= most
    }
    devices = content.get("devices")
    if len(numbers) < len(_BOUNDS) or not isinstance(devices, list):
        return None
    since, idle_for = numbers.pop("since"), numbers.pop("idle_for")
    counts = {key: int(value) for key, value in numbers.items()}
    ids = frozenset(device for device in devices if isinstance(device, str))
    return Claim(name, uid, devices=ids, since=since, idle_for=idle_for, **counts)
