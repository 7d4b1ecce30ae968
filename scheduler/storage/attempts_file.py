"""A task's attempts since it was last completed, failed or forgotten, as its file has them.

Each line is a JSON object, known by its keys:

========  ===================================  ==========================================================
line      keys                                 written by
========  ===================================  ==========================================================
start     attempt, device, digest, token, …    the supervisor, before it starts the worker; devices, too,
                                               where there are several
end       ended, code, signal, …               the supervisor, when the worker and its children are gone
stop      stop, cause                          the dispatcher, before it stops the attempt
foreign   foreign, hidden_memory               the dispatcher, when others come to the device
verdict   attempt, verdict, cause, settings    the dispatcher, for an attempt that was not completed
again     attempt, judge_again                 the dispatcher, where the verdict counts no more
========  ===================================  ==========================================================

A line may have been cut off or overwritten, so nothing in it is trusted: a field that is missing, or not
of its type, reads as not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scheduler.core.snapshot import OtherProcess
from scheduler.core.verdict import Kind, Verdict
from scheduler.storage.json_files import as_number, read_objects
from scheduler.storage.locks import is_held

Line = Mapping[str, Any]
# How an attempt was started that is no program of its own: in a fork of a process that had loaded its
# modules; in one that had its weights in memory as well.
FORKED, STANDBY = "forked", "standby"
# The key of a line that takes an attempt's verdict back.
JUDGE_AGAIN = "judge_again"
# Keys of an end that stand there only where they say something.
_OFTEN_LEFT_OUT = ("not_started", "errno", "out_of_time")
# What the dispatcher stopped an attempt for, rather than what its end says.
_TOLD = frozenset({Kind.TIMEOUT, Kind.STALLED, Kind.TOO_MUCH_OUTPUT, Kind.STOPPED})


@dataclass(frozen=True, slots=True)
class StartLine:
    """How an attempt began."""

    attempt: int
    # One at least.
    devices: tuple[str, ...]
    task: str | None = None
    # Of all its devices, each name once.
    device_name: str | None = None
    # Of what the sweep file asked for then.
    digest: str | None = None
    # In the environment of all its processes.
    token: str | None = None
    halvings: int = 0
    overrides: Line = field(default_factory=dict)
    # Bytes, of the device with the least of it.
    free_memory: int | None = None
    # The supervisor: its process id, when that process was started (clock ticks since boot), which boot.
    supervisor: int | None = None
    start_ticks: int | None = None
    boot: str | None = None
    # Seconds: monotonic time of that boot, and time of day.
    monotonic: float | None = None
    started: float | None = None
    # Of the sweep's settings then.
    settings: str | None = None
    # The code that it ran: see executors/source_version.py.
    source: Line | None = None
    # The CPUs that its processes are bound to, as the kernel writes a list of them: 0-3,8.
    cores: str | None = None
    # Bytes that it asked for of a device that others of ours may share; None: it has the device alone.
    share: int | None = None
    # Where on a cluster it runs: node, job, and the GPUs that it has there.
    place: Line | None = None
    # FORKED or STANDBY; None: as a program of its own.
    launch: str | None = None

    @property
    def device(self) -> str:
        """The first of its devices."""
        return self.devices[0]

    @classmethod
    def parse(cls, line: Line) -> StartLine | None:
        """Return the start that a line tells of, or None if it tells of none."""
        attempt, devices = _int(line, "attempt"), devices_in(line)
        if attempt is None or not devices:
            return None
        overrides, source, place = (line.get(key) for key in ("overrides", "source", "place"))
        supervisor, ticks = _int(line, "supervisor"), _int(line, "start_ticks")
        return cls(
            attempt,
            devices,
            _text(line, "task"),
            _text(line, "device_name"),
            _text(line, "digest"),
            _text(line, "token"),
            max(0, _int(line, "halvings") or 0),
            overrides if isinstance(overrides, dict) else {},
            _int(line, "free_memory"),
            # Until 0.1.0 it was called keeper.
            _int(line, "keeper") if supervisor is None else supervisor,
            # Until 0.1.0 it was called birth.
            _int(line, "birth") if ticks is None else ticks,
            _text(line, "boot"),
            as_number(line.get("monotonic")),
            as_number(line.get("started")),
            _text(line, "settings"),
            source if isinstance(source, dict) else None,
            _text(line, "cores"),
            _int(line, "share"),
            place if isinstance(place, dict) else None,
            _text(line, "launch"),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the line, as far as it is known."""
        others = (key for key in self.__slots__ if key not in ("attempt", "devices"))
        known = {key: value for key in others if (value := getattr(self, key)) is not None}
        return {"attempt": self.attempt, **devices_as_json(self.devices), **known}


@dataclass(frozen=True, slots=True)
class EndLine:
    """How an attempt ended: with a code, by a signal, or before its worker became a process."""

    # Time of day in seconds.
    ended: float | None = None
    code: int | None = None
    signal: int | None = None
    # The kernel's count of OOM kills rose while the worker ran.
    oom_killed: bool = False
    # The supervisor was told to stop it.
    stopped: bool = False
    # It was told to when the time was over that its job had on the cluster.
    out_of_time: bool = False
    # How many processes the worker left behind.
    leftovers: int = 0
    # Bytes of main memory, of the worker and what it waited for.
    peak_memory: int | None = None
    # Why there never was a worker, and the error's number.
    not_started: str | None = None
    errno: int | None = None

    @classmethod
    def parse(cls, line: Line) -> EndLine | None:
        """Return the end that a line tells of, or None if it tells of none."""
        if "ended" not in line:
            return None
        return cls(
            as_number(line.get("ended")),
            _int(line, "code"),
            _int(line, "signal"),
            line.get("oom_killed") is True,
            line.get("stopped") is True,
            line.get("out_of_time") is True,
            _int(line, "leftovers") or 0,
            _int(line, "peak_memory"),
            str(line["not_started"]) if "not_started" in line else None,
            _int(line, "errno"),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the line; what is not known stands as null, but for a worker that never was."""
        return {
            key: value
            for key, value in asdict(self).items()
            if value not in (None, False) or key not in _OFTEN_LEFT_OUT
        }


@dataclass(frozen=True, slots=True)
class StopLine:
    """Why an attempt is being stopped: the verdict that it gets unless it completes all the same."""

    verdict: Verdict

    @classmethod
    def parse(cls, line: Line) -> StopLine | None:
        """Return the stop that a line tells of, or None if it tells of none."""
        return cls(_verdict(line, "stop")) if "stop" in line else None

    def as_json(self) -> dict[str, Any]:
        """Return the line."""
        return {"stop": self.verdict.kind.value, "cause": self.verdict.cause}


@dataclass(frozen=True, slots=True)
class ForeignLine:
    """Others came to the attempt's device: their processes, and bytes held by none in sight."""

    processes: Sequence[OtherProcess] = ()
    hidden_memory: int = 0

    @classmethod
    def parse(cls, line: Line) -> ForeignLine | None:
        """Return what a line tells of others, or None if it tells of none."""
        if "foreign" not in line:
            return None
        processes = line["foreign"]
        known = [
            OtherProcess(_int(process, "pid"), _text(process, "name"), _text(process, "user"))
            for process in (processes if isinstance(processes, list) else ())
            if isinstance(process, dict)
        ]
        return cls(known, _int(line, "hidden_memory") or 0)

    def as_json(self) -> dict[str, Any]:
        """Return the line."""
        return {"foreign": [asdict(p) for p in self.processes], "hidden_memory": self.hidden_memory}


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """What an attempt was judged to be."""

    verdict: Verdict
    # Its number; None: the last one's.
    attempt: int | None = None
    # Digest of the sweep's settings whose rules it was judged by; None: not known.
    settings: str | None = None
    # Bytes: the least that was free on its device in its last seconds, and the most that it held of it.
    least_free: int | None = None
    taken: int | None = None
    # Other attempts of ours were on its device when it ended.
    crowded: bool = False

    @classmethod
    def parse(cls, line: Line) -> VerdictLine | None:
        """Return the verdict that a line tells of, or None if it tells of none."""
        if "verdict" not in line:
            return None
        return cls(
            _verdict(line, "verdict"),
            _int(line, "attempt"),
            _text(line, "settings"),
            _int(line, "least_free"),
            _int(line, "taken"),
            line.get("crowded") is True,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the line."""
        content = {"verdict": self.verdict.kind.value, "cause": self.verdict.cause}
        known = {
            "attempt": self.attempt,
            "settings": self.settings,
            "least_free": self.least_free,
            "taken": self.taken,
            "crowded": self.crowded or None,
        }
        return content | {key: value for key, value in known.items() if value is not None}


@dataclass(slots=True)
class AttemptRecord:
    """One attempt as the attempts file has it: its lines, put together."""

    started: StartLine
    ended: EndLine | None = None
    stop: StopLine | None = None
    foreign: ForeignLine | None = None
    verdict: VerdictLine | None = None
    # What its verdict line is to say of its device, as long as it is not judged.
    least_free: int | None = None
    taken: int | None = None
    crowded: bool = False

    @classmethod
    def parse(cls, line: Line) -> AttemptRecord | None:
        """Return the attempt that a checkpoint tells of, as `for_people` wrote it; None: it is none."""
        start = StartLine.parse(line)
        if start is None:
            return None
        verdict = VerdictLine.parse(line)
        told = verdict is not None and verdict.verdict.kind in _TOLD
        stop = StopLine(verdict.verdict) if verdict is not None and told else None
        return cls(start, EndLine.parse(line), stop, ForeignLine.parse(line), verdict)

    def lines(self) -> Iterator[Line]:
        """Yield the lines that tell of the attempt."""
        yield self.started.as_json()
        number = {"attempt": self.started.attempt}
        for part in (self.foreign, self.stop):
            if part is not None:
                yield number | part.as_json()
        if self.ended is not None:
            yield number | self.ended.as_json()
        if self.verdict is not None:
            yield number | self.verdict.as_json()

    def for_people(self) -> dict[str, Any]:
        """Return what ``.done`` and ``.failed`` say of the attempt."""
        begun, end = self.started, self.ended
        content: dict[str, Any] = {
            "attempt": begun.attempt,
            "task": begun.task,
            **devices_as_json(begun.devices),
            "device_name": begun.device_name,
            "token": begun.token,
            "halvings": begun.halvings,
            "overrides": dict(begun.overrides),
            "free_memory": begun.free_memory,
            "started": begun.started,
        }
        if begun.source is not None:
            content["source"] = begun.source
        for name, value in (
            ("cores", begun.cores),
            ("launch", begun.launch),
            ("share", begun.share),
            ("place", begun.place),
            ("taken", self.taken),
        ):
            if value is not None:
                content[name] = value
        if self.foreign is not None:
            content |= self.foreign.as_json()
        if end is not None:
            content |= {"ended": end.ended, "code": end.code, "signal": end.signal}
        if end is not None and end.not_started is not None:
            content |= {"not_started": end.not_started, "errno": end.errno}
        elif end is not None:
            content |= {"oom_killed": end.oom_killed, "stopped": end.stopped}
            content |= {"out_of_time": True} if end.out_of_time else {}
            content |= {"leftovers": end.leftovers, "peak_memory": end.peak_memory}
        return content if self.verdict is None else content | self.verdict.as_json()


def devices_in(line: Line) -> tuple[str, ...]:
    """Return the devices that a line tells of; none where it tells of none."""
    device, several = _text(line, "device"), line.get("devices")
    if isinstance(several, list) and several[:1] == [device]:
        return tuple(name for name in several if isinstance(name, str))
    return () if device is None else (device,)


def devices_as_json(devices: Sequence[str]) -> dict[str, Any]:
    """Return what lines and checkpoints say of an attempt's devices: the first, and all where it had more."""
    content: dict[str, Any] = {"device": devices[0] if devices else None}
    return content | {"devices": list(devices)} if len(devices) > 1 else content


def read_attempts(path: Path) -> list[AttemptRecord]:
    """Read an attempts file; lines that cannot be understood, or belong to no start, are passed over."""
    attempts: list[AttemptRecord] = []
    for line in read_objects(path):
        if (start := StartLine.parse(line)) is not None:
            attempts.append(AttemptRecord(start))
        elif (attempt := latest(attempts, _int(line, "attempt"))) is not None:
            _add(attempt, line)
    return attempts


def _add(attempt: AttemptRecord, line: Line) -> None:
    if JUDGE_AGAIN in line:
        attempt.verdict = None
    elif (end := EndLine.parse(line)) is not None:
        attempt.ended = end
    elif (verdict := VerdictLine.parse(line)) is not None:
        attempt.verdict = verdict
    elif (stop := StopLine.parse(line)) is not None:
        attempt.stop = stop
    elif (foreign := ForeignLine.parse(line)) is not None:
        attempt.foreign = foreign


def latest(attempts: Sequence[AttemptRecord], number: int | None = None) -> AttemptRecord | None:
    """Return the last attempt of that number, or the last of all for None."""
    return next(
        (a for a in reversed(attempts) if number is None or a.started.attempt == number), None
    )


def supervisor_of(path: Path) -> int | None:
    """Return the process id of the newest attempt's supervisor, as it stands there."""
    attempts = read_attempts(path)
    return attempts[-1].started.supervisor if attempts else None


def is_locked(path: Path) -> bool:
    """Say whether a living process holds the attempts file: its attempt runs."""
    return is_held(path) is True


def _int(line: Line, key: str) -> int | None:
    value = line.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(line: Line, key: str) -> str | None:
    value = line.get(key)
    return value if isinstance(value, str) else None


def _verdict(line: Line, key: str) -> Verdict:
    """Return the verdict under ``key``; a kind that no longer exists counts as a plain failure."""
    try:
        return Verdict(Kind(line.get(key)), str(line.get("cause")))
    except ValueError:
        return Verdict(Kind.FAILED, str(line.get("cause")))
