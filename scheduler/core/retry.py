"""When a task is tried again, how, and when it is given up. Pure: a task's history in, the next step out.

Nothing is counted anywhere else, so a dispatcher that died and one that did not decide alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from scheduler.config.sweep import RetrySettings
from scheduler.config.units import format_duration, format_size
from scheduler.core.verdict import Kind, Verdict

MAX_FREE_ATTEMPTS = (
    5  # attempts that failed through no fault of the task; one more is charged to it
)
MAX_BACKOFF = 3600.0  # seconds

# Retrying cannot help: the same code will fail in the same way.
_HOPELESS = frozenset({Kind.WRONG_CODE})
# Not the task's fault: such an attempt costs it nothing, as long as there are not too many.
_FREE = frozenset({Kind.DEVICE_ERROR, Kind.LOST, Kind.NOT_STARTED, Kind.DISK_FULL})
# The user's or the dispatcher's own doing: never counted.
_UNCOUNTED = frozenset({Kind.STOPPED})
# What points at the device when task after task ends like this on it.
SUSPICIOUS = frozenset(
    {
        Kind.DEVICE_ERROR,
        Kind.FAILED,
        Kind.NO_SUCCESS_LINE,
        Kind.SIGNALLED,
        Kind.STALLED,
        Kind.NOT_STARTED,
    }
)


@dataclass(frozen=True, slots=True)
class JudgedAttempt:
    """One judged attempt, as far as the policy needs it."""

    verdict: Verdict
    device: str
    ended: float  # seconds, in the dispatcher's time
    free_memory: int | None = None  # bytes free on the device when it started; None: not known
    foreign: bool = False  # another user's process was on the device while it ran
    halvings: int = 0  # how often the arguments of on_oom were halved for it


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again: not before ``at``, with more free memory than ``above_memory``, rather not on ``avoid``."""

    at: float
    why: str
    halvings: int = 0
    above_memory: int | None = None
    avoid: str | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The task has failed for good."""

    why: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The sweep's retry settings, and how often its ``on_oom`` arguments can be halved before they are 1."""

    settings: RetrySettings = field(default_factory=RetrySettings)
    max_halvings: int = 0

    def next_step(self, history: Sequence[JudgedAttempt]) -> Retry | GiveUp:
        """Decide what becomes of a task after ``history``, its judged attempts, oldest first.

        The last attempt is not a completed one.
        """
        last = history[-1]
        kind = last.verdict.kind
        if kind in _HOPELESS:
            return GiveUp(f"{last.verdict.cause}; the same code would fail again")
        # Not the last one's: an attempt that was never started may not know what it was to be.
        halvings = max(attempt.halvings + self._can_halve(attempt) for attempt in history)
        if kind in _UNCOUNTED:
            return Retry(last.ended, "was stopped", halvings, self._memory_needed(history))
        charged = self._charged(history)
        if charged >= self.settings.max_attempts:
            return GiveUp(
                f"{last.verdict.cause} (attempt {charged} of {self.settings.max_attempts})"
            )
        if kind is Kind.OUT_OF_MEMORY:
            return self._after_oom(history, halvings)
        pause = self._pause(history)
        return Retry(
            last.ended + pause,
            f"waits {format_duration(pause)} after: {last.verdict.kind.value}"
            if pause
            else last.verdict.kind.value,
            halvings,
            self._memory_needed(history),
            last.device if kind is Kind.DEVICE_ERROR else None,
        )

    def _after_oom(self, history: Sequence[JudgedAttempt], halvings: int) -> Retry:
        last = history[-1]
        if last.foreign:
            pause = self._pause(history)
            return Retry(
                last.ended + pause,
                "others took the device's memory",
                halvings,
                self._memory_needed(history),
            )
        if self._can_halve(last):
            return Retry(
                last.ended, f"out of memory: halves {', '.join(self.settings.on_oom)}", halvings
            )
        needed = self._memory_needed(history)
        if needed is None:
            pause = self._pause(history)
            return Retry(last.ended + pause, "out of memory", halvings)
        return Retry(
            last.ended,
            f"out of memory: needs a device with more than {format_size(needed)} free",
            halvings,
            needed,
        )

    def _can_halve(self, attempt: JudgedAttempt) -> bool:
        """Say whether the attempt failed for want of memory that a smaller batch would not need."""
        return (
            attempt.verdict.kind is Kind.OUT_OF_MEMORY
            and not attempt.foreign
            and attempt.halvings < self.max_halvings
        )

    def _memory_needed(self, history: Sequence[JudgedAttempt]) -> int | None:
        """Return the most free memory that was not enough for the smallest batch, or None."""
        return max(
            (
                attempt.free_memory
                for attempt in history
                if attempt.verdict.kind is Kind.OUT_OF_MEMORY
                and not attempt.foreign
                and attempt.halvings >= self.max_halvings
                and attempt.free_memory is not None
            ),
            default=None,
        )

    def _charged(self, history: Sequence[JudgedAttempt]) -> int:
        """Count the attempts that the task has used up."""
        charged = free = 0
        for attempt in history:
            kind = attempt.verdict.kind
            if kind in _UNCOUNTED:
                continue
            if self._can_halve(attempt):
                continue  # the remedy is at hand, and runs out by itself
            if kind in _FREE or (kind is Kind.OUT_OF_MEMORY and attempt.foreign):
                free += 1
                charged += free > MAX_FREE_ATTEMPTS
            else:
                charged += 1
        return charged

    def _pause(self, history: Sequence[JudgedAttempt]) -> float:
        """Return the back-off in seconds: doubled for each counted failure, none after a lost attempt."""
        if history[-1].verdict.kind is Kind.LOST:
            return 0.0
        failures = sum(attempt.verdict.kind not in _UNCOUNTED for attempt in history)
        return min(MAX_BACKOFF, self.settings.backoff * 2.0 ** min(failures - 1, 16))
