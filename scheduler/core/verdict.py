"""What an attempt's exit and log say of it: one verdict, and its cause in words. Pure functions.

An attempt is completed only if it exited 0, the success line stands in its log and no failure pattern
does. Everything else is sorted into the kinds below because each asks for another remedy (see retry.py).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from scheduler.config.printable import ESCAPE, printable
from scheduler.config.sweep import Rules
from scheduler.config.units import format_size
from scheduler.core import log_ending


class Kind(str, Enum):
    """The class of a verdict; the value is what checkpoints and the journal say."""

    COMPLETED = "completed"
    STAGE_DONE = "timed stage done"
    OUT_OF_MEMORY = "out of memory"
    WRONG_CODE = "wrong code"
    TRY_LATER = "try later"
    DISK_FULL = "disk full"
    DEVICE_ERROR = "device error"
    KILLED_BY_KERNEL = "killed by the kernel's OOM killer"
    SIGNALLED = "killed by a signal"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    TOO_MUCH_OUTPUT = "too much output"
    NO_SUCCESS_LINE = "no success line"
    FAILED = "failed"
    NOT_STARTED = "not started"
    LOST = "lost"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What validation says of an attempt that is over."""

    kind: Kind
    cause: str

    @property
    def completed(self) -> bool:
        return self.kind is Kind.COMPLETED


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker process ended; neither a code nor a signal means that nobody saw it end."""

    code: int | None = None
    signal: int | None = None
    # The kernel's count of OOM kills rose while the worker ran.
    oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class NotStarted:
    """An attempt whose worker never became a process."""

    cause: str
    # The program itself is at fault (missing, not executable, …): the same would happen again.
    wrong_program: bool = False


DISK_ERRNOS = frozenset({28, 30, 122})  # ENOSPC, EROFS, EDQUOT
SIGNAL_NAMES = {
    1: "SIGHUP",
    2: "SIGINT",
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
}
SIGNAL_NAMES |= {11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ"}

# Read in this order, so that the more telling class wins where a line fits two.
_CLASSES: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (
            Kind.OUT_OF_MEMORY,
            # A GPU's, by torch, its libraries, CuPy, JAX, TensorFlow, other kinds of device.
            r"(?:CUDA|HIP|XPU|MPS backend) out of memory"
            r"|\bCUDA\]?(?: driver)?(?: error)?(?: \d+)?: out of memory"
            r"|OutOfMemoryError|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY"
            r"|CU(?:BLAS|DNN|FFT|SOLVER|SPARSE|RAND)_(?:STATUS_)?ALLOC(?:ATION)?_FAILED"
            r"|Cuda failure (?:\d+ )?'out of memory'|\bcuda\w+ failed: out of memory"
            r"|RESOURCE_EXHAUSTED: (?:Out of memory|Failed to allocate|Allocator|OOM)"
            r"|(?:Xla|Jax)RuntimeError: RESOURCE_EXHAUSTED|ResourceExhaustedError: OOM"
            # The machine's.
            r"|DefaultCPUAllocator: (?:can't allocate|not enough) memory|^(?:\w+\.)*_?(?:Array)?MemoryError\b"
            r"|\bstd::bad_alloc\b|\[Errno 12\] Cannot allocate memory|Cannot allocate memory \(12\)",
        ),
        (Kind.DISK_FULL, r"No space left on device|Disk quota exceeded"),
        (
            Kind.DEVICE_ERROR,
            r"uncorrectable ECC|fallen off the bus|GPU is lost|NVRM: Xid|CUDA-capable device\(s\) is/are busy"
            r"|CUDA error: (?:unknown error|device not ready|hardware stack error|no CUDA-capable device)"
            r"|CUDA driver initialization failed|CUDA_ERROR_ECC_UNCORRECTABLE|CUDA_ERROR_SYSTEM_NOT_READY",
        ),
        (
            Kind.WRONG_CODE,
            r"^(?:ImportError|ModuleNotFoundError|SyntaxError|IndentationError|TabError)\b",
        ),
        (
            Kind.TRY_LATER,
            r"ConnectionError\b|ConnectTimeout\b|ReadTimeout\b|Temporary failure in name resolution"
            r"|ConnectionResetError\b|Connection refused|Max retries exceeded"
            r"|(?:429|500|502|503|504) (?:Client|Server) Error",
        ),
    )
)
# What libraries also say who did not get the memory that they need at their first use. No word tells it from
# a fault of theirs, or of the program; only the memory that was free does.
_MAYBE_OUT_OF_MEMORY = re.compile(
    r"CUDNN_STATUS_(?:INTERNAL_ERROR|NOT_INITIALIZED|EXECUTION_FAILED)|[Uu]nable to find an engine to execute"
    r"|CU(?:BLAS|SOLVER|SPARSE)_STATUS_(?:NOT_INITIALIZED|INTERNAL_ERROR|EXECUTION_FAILED)"
    r"|CUSPARSE_STATUS_INSUFFICIENT_RESOURCES|CUFFT_(?:INTERNAL_ERROR|SETUP_FAILED)"
    r"|CURAND_STATUS_INITIALIZATION_FAILED|[Uu]nhandled cuda error|ncclUnhandledCudaError"
)
# Bytes that are free: a context takes up to 0.6 GiB, and a library's workspace some of the rest.
NEARLY_FULL = 2**30
_ANY_CLASS = re.compile("|".join(f"(?:{pattern.pattern})" for _, pattern in _CLASSES))
_ORDER = {kind: rank for rank, (kind, _) in enumerate(_CLASSES)}
# The last line of an attempt that leaves the rest of its task to one that may share its device.
STAGE_DONE_LINE = "Timed stage completed"
TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(
    r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Iteration)?\b(?::|$)"
)
_CAUSE_LENGTH = 240


def classify_line(line: str) -> Kind | None:
    """Return the kind of failure that one line of a log speaks of, or None."""
    if _ANY_CLASS.search(line) is None:  # nearly every line; one search instead of one per class
        return None
    return next(kind for kind, pattern in _CLASSES if pattern.search(line))


def ends_traceback(line: str) -> bool:
    """Say whether a line, after a traceback has begun, is the one that names the exception."""
    return _EXCEPTION.match(line) is not None


class LogScan:
    """Reads a log line by line, keeping only what a verdict needs; memory does not grow with the log.

    `feed` says what is meant. Whoever knows that a line can change nothing may leave it out, by `wanted`
    and `TRACEBACK`: storage/logs.py does, for speed.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        # The last traceback has not come to its last line.
        self.in_traceback = False
        self.success = False
        self.failure_line: str | None = None  # the first line that holds a failure pattern
        self.failure_pattern: str | None = None
        self.exception: str | None = None  # the last line of the last traceback
        self.last_line: str | None = None
        self.hints: dict[Kind, str] = {}  # the first line of each class, wherever it stood
        self.ending: deque[str] = deque(maxlen=log_ending.LINES)  # the last lines, which may be cut

    def feed(self, lines: Iterable[str]) -> LogScan:
        """Read more lines (without their line ends); return self."""
        for line in lines:
            self.look_for_firsts(line)
            if TRACEBACK in line:
                self.in_traceback = True
            elif self.in_traceback and ends_traceback(line):
                self.exception, self.in_traceback = line.strip(), False
            if line and not line.isspace():
                self.last_line = line.strip()
            self.ending.append(line[: log_ending.LONGEST])
        return self

    @property
    def ended_by(self) -> str | None:
        """The exception that ended the program, as far as its log shows one."""
        return log_ending.last_exception(self.ending) or self.exception

    @property
    def last_words(self) -> str:
        """What says best why the program ended."""
        words = self.ended_by or log_ending.last_words(self.ending) or self.last_line
        return words or "no output"

    def look_for_firsts(self, line: str) -> None:
        """Read a line for the success line, the first failure pattern and the first line of each class."""
        if self._rules.success in line:
            self.success = True
        if self.failure_line is None:
            for pattern in self._rules.failure:
                if pattern in line:
                    self.failure_line, self.failure_pattern = line.strip(), pattern
        kind = classify_line(line)
        if kind is not None:
            self.hints.setdefault(kind, line.strip())

    def wanted(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the texts and the regular expressions of lines that `look_for_firsts` still needs."""
        texts: tuple[str, ...] = () if self.success else (self._rules.success,)
        if self.failure_line is None:
            texts += self._rules.failure
        return texts, tuple(p.pattern for kind, p in _CLASSES if kind not in self.hints)


# Why an attempt is worth nothing, and a checkpoint does not hold, that was made for another sweep file.
SWEEP_CHANGED = "the sweep file has changed"

# Why a checkpoint's log is judged again: it was judged by other rules.
RULES_CHANGED = "validate has changed"

# How a worker ends whose words may mean that it did not get memory.
_MAYBE_MEMORY = frozenset({Kind.FAILED, Kind.SIGNALLED})

# How a worker ends that could not even write down that the disk of its log is full.
MAYBE_DISK_FULL = frozenset({Kind.FAILED, Kind.NO_SUCCESS_LINE, Kind.SIGNALLED})


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a verdict is founded on."""

    end: Exit | NotStarted
    # Its whole log, read; nothing was read if there is no log.
    scan: LogScan
    has_log: bool = True
    # It was begun for what the sweep file asks for today.
    of_today: bool = True
    # Why not, if it was not.
    outdated: str = SWEEP_CHANGED
    # Why the dispatcher stopped it, if it did.
    stop: Verdict | None = None
    # What a dispatcher that died has judged already.
    earlier: Verdict | None = None
    # Why its log's disk takes nothing more, if it does not.
    disk_trouble: str | None = None
    # Which of its own files took the room, if the disk was full and one did.
    took_room: str | None = None
    # Bytes: the least that was free on its device, at its start or in its last seconds. None: not known.
    least_free: int | None = None


def decide(evidence: Evidence) -> Verdict:
    """Return the verdict on an attempt."""
    verdict = _decide(evidence)
    if verdict.kind is Kind.DISK_FULL and evidence.took_room is not None:
        return Verdict(Kind.TOO_MUCH_OUTPUT, f"{verdict.cause}; {evidence.took_room}")
    return verdict


def _decide(evidence: Evidence) -> Verdict:
    if evidence.earlier is not None:
        return evidence.earlier
    if not evidence.of_today:
        return Verdict(Kind.STOPPED, evidence.outdated)
    if isinstance(evidence.end, NotStarted):
        kind = Kind.WRONG_CODE if evidence.end.wrong_program else Kind.NOT_STARTED
        return Verdict(kind, evidence.end.cause)
    verdict = judge(evidence.end, evidence.scan, evidence.stop)
    if verdict.kind in MAYBE_DISK_FULL and evidence.disk_trouble is not None:
        return Verdict(Kind.DISK_FULL, f"{verdict.cause}; {evidence.disk_trouble}")
    if verdict.kind in _MAYBE_MEMORY and _MAYBE_OUT_OF_MEMORY.search(verdict.cause):
        return _with_memory(verdict, evidence)
    if verdict.kind is Kind.NO_SUCCESS_LINE and not evidence.has_log:
        return Verdict(Kind.LOST, "exit code 0, but its log, which had to prove it, is gone")
    return verdict


def _with_memory(verdict: Verdict, evidence: Evidence) -> Verdict:
    """Return out of memory in the place of a failure that no word explains, if the device was nearly full."""
    free = evidence.least_free
    if free is None or free > NEARLY_FULL:
        return verdict
    return _verdict(
        Kind.OUT_OF_MEMORY, f"{format_size(free)} were free on the device: {verdict.cause}"
    )


def judge(ended: Exit, scan: LogScan, stop: Verdict | None = None) -> Verdict:
    """Return what an exit and a log say of an attempt.

    Args:
        ended: how the process ended.
        scan: its whole log, read.
        stop: why the dispatcher stopped it, if it did; an attempt that was completed all the same
            before the signal reached it counts as completed.
    """
    if ended.code == 0 and scan.success and scan.failure_line is None:
        return Verdict(Kind.COMPLETED, "exit code 0, success line found, no failure pattern")
    if ended.code == 0 and scan.last_line == STAGE_DONE_LINE and scan.failure_line is None:
        return Verdict(Kind.STAGE_DONE, "what is timed is measured; the rest may share a device")
    if stop is not None:
        return stop
    if ended.code is None and ended.signal is None:
        return Verdict(
            Kind.LOST,
            "the worker's end was not seen (its supervisor was killed or the machine went down)",
        )
    signal = ended.signal
    if signal is None and ended.code is not None and ended.code - 128 in SIGNAL_NAMES:
        signal = ended.code - 128  # how a shell, or another wrapper, tells of its child's end
    if signal is not None:
        return _judge_signal(signal, ended.oom_killed, scan)
    if ended.code == 2:
        return _verdict(Kind.WRONG_CODE, f"exit code 2: {scan.last_words}")
    if ended.code == 75:
        return _verdict(Kind.TRY_LATER, f"exit code 75: {scan.last_words}")
    return _judge_log(ended.code, scan)


def _judge_signal(signal: int, oom_killed: bool, scan: LogScan) -> Verdict:
    name = SIGNAL_NAMES.get(signal, f"signal {signal}")
    if signal == 9 and oom_killed:
        return Verdict(
            Kind.KILLED_BY_KERNEL,
            "the kernel's OOM killer ended the worker: the machine ran out of memory",
        )
    for kind in (Kind.OUT_OF_MEMORY, Kind.DISK_FULL, Kind.DEVICE_ERROR):
        if kind in scan.hints:
            return _verdict(kind, f"{scan.hints[kind]} (then {name})")
    because = f": {scan.ended_by}" if scan.ended_by is not None else ""
    return _verdict(Kind.SIGNALLED, f"killed by {name}{because}")


def _judge_log(code: int | None, scan: LogScan) -> Verdict:
    # The exception that ended the program knows best; what was logged on the way comes second.
    exception = scan.ended_by
    if code != 0 and exception is not None:
        kind = classify_line(exception)
        if kind is not None:
            return _verdict(kind, exception)
    for kind, line in sorted(scan.hints.items(), key=lambda hint: _ORDER[hint[0]]):
        if _still_counts(kind, code, scan):
            return _verdict(kind, line)
    if code != 0:
        return _verdict(Kind.FAILED, f"exit code {code}: {scan.last_words}")
    if scan.failure_line is not None:
        return _verdict(
            Kind.FAILED,
            f"exit code 0, but the log holds {scan.failure_pattern!r}: {scan.failure_line}",
        )
    said = f"; last line: {scan.last_line}" if scan.last_line else "; the log is empty"
    return _verdict(Kind.NO_SUCCESS_LINE, f"exit code 0, but no success line{said}")


def _still_counts(kind: Kind, code: int | None, scan: LogScan) -> bool:
    """Say whether a line met on the way explains the end as well.

    A program can get over a missing optional module or a lost connection (it went on and ended
    otherwise); it does not get over memory, disk or device.
    """
    if kind is Kind.OUT_OF_MEMORY:
        return True
    if kind in (Kind.WRONG_CODE, Kind.TRY_LATER):
        return code != 0 and scan.ended_by is None
    return code != 0


def _verdict(kind: Kind, cause: str) -> Verdict:
    cause = printable(ESCAPE.sub("", cause))
    return Verdict(kind, cause if len(cause) <= _CAUSE_LENGTH else cause[: _CAUSE_LENGTH - 1] + "…")
