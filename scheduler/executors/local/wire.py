"""What the dispatcher and a supervisor say to each other: JSON lines, each an object with a ``type``.

Orders go to the supervisor's standard input, answers come from its standard output. supervisor.py, which can
import nothing from here, names the same keys; tests/scheduler/executors/local/test_wire.py holds the
two together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from scheduler.executors.base import Refusal, StartRequest
from scheduler.storage.attempts_file import EndLine
from scheduler.storage.json_files import parse_object


@dataclass(frozen=True, slots=True)
class Setup:
    """The first order: what all attempts on the supervisor's device have in common."""

    # An order adds to it.
    environment: dict[str, str]
    # The CPUs that they are bound to; empty: to none.
    cpus: list[int]

    def as_line(self) -> bytes:
        """Return it as it is sent."""
        return _line("setup", self)


@dataclass(frozen=True, slots=True)
class Prepare:
    """Have a worker prepare for this command, before it is known where and when it is to run."""

    command: list[str]
    environment: dict[str, str]
    # Where it prepares.
    cpus: list[int]

    def as_line(self) -> bytes:
        """Return it as it is sent."""
        return _line("prepare", self)


@dataclass(frozen=True, slots=True)
class Bind:
    """Have the worker that prepares do so on these CPUs from now on."""

    cpus: list[int]

    def as_line(self) -> bytes:
        """Return it as it is sent."""
        return _line("bind", self)


@dataclass(frozen=True, slots=True)
class Run:
    """Run an attempt; see `StartRequest` for what is meant by its parts."""

    command: list[str]
    environment: dict[str, str]
    # How the attempts file's line of the start begins.
    start: dict[str, Any]
    attempts_file: str
    attempts_size: int
    done_file: str
    log_file: str
    grace: float

    @classmethod
    def of(cls, request: StartRequest, words: list[str]) -> Run:
        """Return the order that carries out a request by these words, the first of them a program's path."""
        return cls(
            words,
            dict(request.environment),
            request.start.as_json(),
            str(request.attempts_file),
            request.attempts_size,
            str(request.done_file),
            str(request.log_file),
            request.grace,
        )

    def as_line(self) -> bytes:
        """Return it as it is sent."""
        return _line("run", self)


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """The worker runs since that time of day."""

    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """The worker and all below it are gone; the attempts file has this line."""

    end: EndLine


@dataclass(frozen=True, slots=True)
class RunRefused:
    """The attempt must not be started."""

    reason: Refusal


@dataclass(frozen=True, slots=True)
class RunFailed:
    """A file could not be written: the attempt was not started, or its end is not on file."""

    errno: int
    error: str
    file: str | None

    def as_error(self) -> OSError:
        """Return what the supervisor met."""
        return OSError(self.errno, self.error, self.file)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A worker is prepared, and waits; or, with ``why``, it cannot be."""

    why: str | None = None


Answer = WorkerStarted | WorkerEnded | RunRefused | RunFailed | Prepared


def parse(line: bytes) -> Answer:
    """Return what a supervisor answered.

    Raises:
        ValueError: it is none of its answers.
    """
    message = parse_object(line)
    match message:
        case {"type": "started", "pid": int(pid), "at": float(at)}:
            return WorkerStarted(pid, at)
        case {"type": "ended", "end": {} as content} if (end := EndLine.parse(content)) is not None:
            return WorkerEnded(end)
        case {"type": "prepared", "why": str() | None as why}:
            return Prepared(why)
        case {"type": "refused", "reason": str(reason)}:
            return RunRefused(Refusal(reason))
        case {"type": "failed", "errno": int(errno), "error": str(error), "file": file}:
            return RunFailed(errno, error, file if isinstance(file, str) else None)
    raise ValueError(f"not a supervisor's answer: {message!r}")


def _line(kind: str, order: Setup | Prepare | Bind | Run) -> bytes:
    content = {"type": kind, **{name: getattr(order, name) for name in order.__slots__}}
    return json.dumps(content).encode() + b"\n"
