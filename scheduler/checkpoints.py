"""Checkpoints and attempts on disk: read without trusting them, written so that they survive a power cut."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.verdict import LogScan, Rules

_SUMMARY_TAIL = 1 << 18  # bytes of a results file in which its last line, the summary, must lie
_LONGEST_LINE = 1 << 20  # bytes; a longer one is read in pieces, so that memory stays small …
_CHUNK = 1 << 14  # bytes; most checkpoints are shorter
_OVERLAP = (
    1 << 10
)  # … of which each repeats the end of the one before, lest a pattern be cut in two


class Draft:
    """A file that is written beside its name and takes it only when it is on the disk.

    So the name holds either the old content or all of the new, whatever happens when. In three steps,
    since many drafts are synced at once for little more than the price of one: create it, `sync`,
    `publish`; then sync the folder. Each raises OSError and leaves nothing behind if it fails.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._descriptor = os.open(self._temporary, flags, 0o644)
        try:
            _write_all(self._descriptor, json.dumps(content, default=str).encode() + b"\n")
        except OSError:
            os.close(self._descriptor)
            self._discard()
            raise

    def sync(self) -> None:
        """Make the content durable."""
        try:
            try:
                os.fsync(self._descriptor)
            finally:
                os.close(self._descriptor)
        except OSError:
            self._discard()
            raise

    def publish(self) -> None:
        """Give it its name; durable once the folder is synced."""
        try:
            os.rename(self._temporary, self._path)
        except OSError:
            self._discard()
            raise

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self._temporary.unlink()


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
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
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


def why_no_room(folder: Path) -> OSError | None:
    """Try to write into ``folder``; return what kept us from it, or None."""
    probe = folder / ".room"
    try:
        probe.write_bytes(b"\0" * 65536)
    except OSError as error:
        return error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return None


def read_object(path: Path | str) -> dict[str, Any] | None:
    """Return the JSON object in ``path``, or None if there is no file or no such object in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = chunk = os.read(descriptor, _CHUNK)
        while len(chunk) == _CHUNK:  # a file that is shorter has ended: no second call to learn it
            chunk = os.read(descriptor, _CHUNK)
            data += chunk
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return parse_object(data)


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object that ``data`` is, or None."""
    try:
        content = json.loads(data.decode())  # decoded here: it would look for UTF-16 first
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file; lines that are none (cut off, overwritten) are passed over."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        for line in file:
            if (content := parse_object(line)) is not None:
                yield content


def last_summary(path: Path) -> dict[str, Any]:
    """Return the ``summary`` of a results file's last line, or {} if it has none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _SUMMARY_TAIL))
            lines = file.read().splitlines()
    except OSError:
        return {}
    content = parse_object(lines[-1]) if lines else None
    summary = (content or {}).get("summary")
    return summary if isinstance(summary, dict) else {}


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What a checkpoint records of the log that proved it."""

    sha256: str
    size: int
    mtime_ns: int


def read_log(path: Path, rules: Rules) -> tuple[LogScan, LogFacts | None]:
    """Read a log once, for its verdict and for its digest; (an empty scan, None) if there is none."""
    scan = LogScan(rules)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            rest = b""
            while chunk := file.readline(_LONGEST_LINE):
                digest.update(chunk)
                # A progress bar is one "line" of many carriage returns.
                parts = (rest + chunk).rstrip(b"\n").split(b"\r")
                scan.feed(part.decode(errors="replace") for part in parts)
                rest = b"" if chunk.endswith(b"\n") else chunk[-_OVERLAP:]
            state = os.fstat(file.fileno())
    except OSError:
        return scan, None
    return scan, LogFacts(digest.hexdigest(), state.st_size, state.st_mtime_ns)


def why_not_done(
    done: Mapping[str, Any] | None, digest: str, log: os.DirEntry[str] | None
) -> str | None:
    """Return why a ``.done`` does not hold today, or None if it does.

    Args:
        done: its content; None if it cannot be read as an object.
        digest: of what the sweep runs today.
        log: the log that proved it; None if it is gone, which does not count against the ``.done``.
    """
    if done is None:
        return "it is damaged"
    if done.get("digest") != digest:
        return "the sweep file asks for something else now"
    recorded = done.get("log")
    if not isinstance(recorded, dict):
        return "it does not say which log proved it"
    if log is None:
        return None
    try:
        state = log.stat()
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    if state.st_size == recorded.get("size") and state.st_mtime_ns == recorded.get("mtime_ns"):
        return None
    _, facts = read_log(Path(log.path), Rules())
    if facts is None or facts.sha256 != recorded.get("sha256"):
        return "its log is not the one that proved it"
    return None


def set_aside(path: Path) -> Path:
    """Rename a file that does not hold to ``NAME.aside``, ``NAME.aside.2``, …; return the new name."""
    target = path.with_name(f"{path.name}.aside")
    number = 2
    while target.exists():
        target = path.with_name(f"{path.name}.aside.{number}")
        number += 1
    path.rename(target)
    return target


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


def folder_entries(folder: Path, suffix: str) -> dict[str, os.DirEntry[str]]:
    """Return the entries of ``folder`` that end in ``suffix``, by what stands before it."""
    try:
        with os.scandir(folder) as entries:
            return {
                e.name[: -len(suffix)]: e
                for e in entries
                if e.name.endswith(suffix) and e.name[0] != "."
            }
    except FileNotFoundError:
        return {}


def attempts_for_people(attempts: Sequence[AttemptRecord]) -> list[dict[str, Any]]:
    """Return what ``.done`` and ``.failed`` say of each attempt."""
    hidden = {"keeper", "birth", "boot", "monotonic", "digest"}
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
