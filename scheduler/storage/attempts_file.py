"""A task's attempts since it was last completed, failed or forgotten, as its file has them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.storage.json_files import read_objects


@dataclass(slots=True)
class AttemptRecord:
    """One attempt as the attempts file has it: its lines, merged."""

    started: dict[str, Any]
    ended: dict[str, Any] | None = None
    stop: dict[str, Any] | None = None
    foreign: dict[str, Any] | None = (
        None  # others' processes that came to the device, and their memory
    )
    verdict: dict[str, Any] | None = None


@dataclass(slots=True)
class AttemptsFile:
    """A task's attempts since it was last completed, failed or forgotten."""

    path: Path
    attempts: list[AttemptRecord] = field(default_factory=list)

    @property
    def open(self) -> AttemptRecord | None:
        """The last attempt, if nothing tells of its end yet."""
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and last.ended is None and last.verdict is None else None


def read_attempts(path: Path) -> AttemptsFile:
    """Read an attempts file; what cannot be understood in it is passed over."""
    found = AttemptsFile(path)
    for line in read_objects(path):
        if isinstance(line.get("attempt"), int) and isinstance(line.get("device"), str):
            found.attempts.append(AttemptRecord(line))
            continue
        attempt = latest(found.attempts, line.get("attempt"))
        if attempt is None:
            continue
        if "ended" in line:
            attempt.ended = line
        elif "verdict" in line:
            attempt.verdict = line
        elif "stop" in line:
            attempt.stop = line
        elif "foreign" in line:
            attempt.foreign = line
    return found


def latest(attempts: Sequence[AttemptRecord], number: object = None) -> AttemptRecord | None:
    """Return the last attempt of that number, or the last of all for None."""
    return next(
        (a for a in reversed(attempts) if number is None or a.started["attempt"] == number), None
    )


def is_locked(path: Path) -> bool:
    """Say whether a living process holds the attempts file: its attempt runs."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def attempts_for_people(attempts: Sequence[AttemptRecord]) -> list[dict[str, Any]]:
    """Return what ``.done`` and ``.failed`` say of each attempt."""
    hidden = {"supervisor", "keeper", "birth", "boot", "monotonic", "digest"}
    return [
        {
            key: value
            for key, value in {
                **a.started,
                **(a.foreign or {}),
                **(a.ended or {}),
                **(a.verdict or {}),
            }.items()
            if key not in hidden
        }
        for a in attempts
    ]
