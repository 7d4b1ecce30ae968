"""When a task is tried again, how, and when it is given up. Pure: a task's history in, the next step out.

Nothing is counted anywhere else, so a dispatcher that died and one that did not decide alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from scheduler.config.sweep import RetrySettings, Sweep
from scheduler.core.verdict import Kind, Verdict

# Attempts that failed through no fault of the task; one more is charged to it.
MAX_FREE_ATTEMPTS = 5
MAX_BACKOFF = 3600.0  # seconds
SHARE_STEP = 256 * 2**20  # bytes; what an attempt takes is asked for rounded up to it

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
    devices: tuple[str, ...]
    # Seconds, in the dispatcher's time.
    ended: float
    # Bytes free on the device with the least of it when it started; None: not known.
    free_memory: int | None = None
    # Another user's process was on the device while it ran.
    foreign: bool = False
    # How often the arguments of on_oom were halved for it.
    halvings: int = 0
    # Bytes of a shared device: asked for, and taken at most; None: it had its devices alone, or is not known.
    asked: int | None = None
    taken: int | None = None
    # Other attempts of ours were on its device when it ended.
    crowded: bool = False

    @property
    def took_too_much(self) -> bool:
        """Whether it took more of a shared device than it had asked for."""
        return self.asked is not None and self.taken is not None and self.taken > self.asked

    @property
    def only_device(self) -> str | None:
        """Its device; None where it had several, of which none can be said to be at fault."""
        return self.devices[0] if len(self.devices) == 1 else None


class RetryCode(str, Enum):
    """Why a task is tried again; the value is what the journal says, texts.py has the words."""

    STOPPED = "stopped"
    STAGE_DONE = "timed stage done"
    FAILED = "failed"
    DEVICE_ERROR = "device error"
    HALVES_ARGUMENTS = "halves arguments"
    NEEDS_MEMORY = "needs memory"
    # Nothing is left to halve, and how much memory was free is not known.
    OUT_OF_MEMORY = "out of memory"
    MEMORY_TAKEN = "memory taken"
    # On a shared device: it took more than it had asked for, or another attempt of ours did.
    ASKS_FOR_MORE = "asks for more"
    BESIDE_OTHERS = "beside others"
    # Version 0.1.0 recorded only words.
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class RetryReason:
    """A code with its arguments."""

    code: RetryCode
    # Of the failed attempt: FAILED, DEVICE_ERROR.
    kind: Kind | None = None
    # The back-off in seconds: FAILED, DEVICE_ERROR.
    pause: float = 0.0
    # Bytes that were free and not enough: NEEDS_MEMORY; that it asks for: ASKS_FOR_MORE.
    memory: int | None = None
    # The worker's: HALVES_ARGUMENTS.
    arguments: tuple[str, ...] = ()
    # What version 0.1.0 said.
    words: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again: not before ``at``, with more free memory than ``above_memory``, rather not on ``avoid``."""

    at: float
    reason: RetryReason
    halvings: int = 0
    above_memory: int | None = None
    avoid: str | None = None
    # Bytes to ask for of a device that is shared; None: as its sweep says.
    share: int | None = None


class GiveUpCode(Enum):
    """Why a task is given up; texts.py has the words."""

    WRONG_CODE = "wrong code"
    NO_ATTEMPTS_LEFT = "no attempts left"
    NO_SUCH_MEMORY = "no such memory"
    TOO_FEW_DEVICES = "too few devices"
    BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The task has failed for good: a code with its arguments."""

    code: GiveUpCode
    # Of the last attempt's verdict: WRONG_CODE, NO_ATTEMPTS_LEFT.
    cause: str = ""
    # How many attempts it has used up, and had: NO_ATTEMPTS_LEFT.
    attempts: int = 0
    max_attempts: int = 0
    # Bytes that were free and not enough, and that no device has more of: NO_SUCH_MEMORY.
    memory: int | None = None
    # How many devices it has at once, and how many an attempt can have here: TOO_FEW_DEVICES.
    devices: int = 0
    most_devices: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """The sweep's retry settings, and how often its ``on_oom`` arguments can be halved before they are 1."""

    settings: RetrySettings = field(default_factory=RetrySettings)
    max_halvings: int = 0

    @classmethod
    def of(cls, sweep: Sweep) -> Policy:
        """Return the policy that a sweep file asks for."""
        sizes = [sweep.args[name] for name in sweep.retries.on_oom]
        return cls(sweep.retries, max((size.bit_length() - 1 for size in sizes), default=0))

    def next_step(self, history: Sequence[JudgedAttempt]) -> Retry | GiveUp:
        """Decide what becomes of a task after ``history``, its judged attempts, oldest first.

        The last attempt is not a completed one.
        """
        step = self._next_step(history)
        return step if isinstance(step, GiveUp) else replace(step, share=_to_ask_for(history))

    def _next_step(self, history: Sequence[JudgedAttempt]) -> Retry | GiveUp:
        last = history[-1]
        kind = last.verdict.kind
        if kind in _HOPELESS:
            return GiveUp(GiveUpCode.WRONG_CODE, last.verdict.cause)
        # Not the last one's: an attempt that was never started may not know what it was to be.
        halvings = max(attempt.halvings + self._can_halve(attempt) for attempt in history)
        is_stage = kind is Kind.STAGE_DONE and not is_timed_stage_done(history[:-1])
        if is_stage or kind in _UNCOUNTED:
            reason = RetryReason(RetryCode.STAGE_DONE if is_stage else RetryCode.STOPPED)
            return Retry(last.ended, reason, halvings, self._memory_needed(history))
        charged = self._charged(history)
        if charged >= self.settings.max_attempts:
            most = self.settings.max_attempts
            return GiveUp(GiveUpCode.NO_ATTEMPTS_LEFT, last.verdict.cause, charged, most)
        if kind is Kind.OUT_OF_MEMORY:
            return self._after_oom(history, halvings)
        pause = self._pause(history)
        is_device_error = kind is Kind.DEVICE_ERROR
        code = RetryCode.DEVICE_ERROR if is_device_error else RetryCode.FAILED
        return Retry(
            last.ended + pause,
            RetryReason(code, kind, pause),
            halvings,
            self._memory_needed(history),
            last.only_device if is_device_error else None,
        )

    def _after_oom(self, history: Sequence[JudgedAttempt], halvings: int) -> Retry:
        last = history[-1]
        if last.foreign:
            pause = self._pause(history)
            reason = RetryReason(RetryCode.MEMORY_TAKEN)
            return Retry(last.ended + pause, reason, halvings, self._memory_needed(history))
        if last.crowded:
            return self._after_oom_beside_others(history, halvings)
        if self._can_halve(last):
            reason = RetryReason(RetryCode.HALVES_ARGUMENTS, arguments=tuple(self.settings.on_oom))
            return Retry(last.ended, reason, halvings)
        needed = self._memory_needed(history)
        if needed is None:
            pause = self._pause(history)
            return Retry(last.ended + pause, RetryReason(RetryCode.OUT_OF_MEMORY), halvings)
        reason = RetryReason(RetryCode.NEEDS_MEMORY, memory=needed)
        return Retry(last.ended, reason, halvings, needed)

    def _after_oom_beside_others(self, history: Sequence[JudgedAttempt], halvings: int) -> Retry:
        """Have it ask for what it took; who kept to what it asked for may have met one who did not."""
        last, needed = history[-1], self._memory_needed(history)
        share = None if _kept_to_its_share(last) else _to_ask_for(history)
        if share is not None:
            reason = RetryReason(RetryCode.ASKS_FOR_MORE, memory=share)
            return Retry(last.ended, reason, halvings, needed)
        pause = self._pause(history)
        reason = RetryReason(RetryCode.BESIDE_OTHERS)
        return Retry(last.ended + pause, reason, halvings, needed)

    def _can_halve(self, attempt: JudgedAttempt) -> bool:
        """Say whether the attempt failed for want of memory that a smaller batch would not need."""
        return (
            attempt.verdict.kind is Kind.OUT_OF_MEMORY
            and not (attempt.foreign or attempt.crowded)
            and attempt.halvings < self.max_halvings
        )

    def _memory_needed(self, history: Sequence[JudgedAttempt]) -> int | None:
        """Return the most free memory that was not enough for the smallest batch, or None."""
        return max(
            (
                attempt.free_memory
                for attempt in history
                if attempt.verdict.kind is Kind.OUT_OF_MEMORY
                and not (attempt.foreign or attempt.crowded)
                and attempt.halvings >= self.max_halvings
                and attempt.free_memory is not None
            ),
            default=None,
        )

    def _charged(self, history: Sequence[JudgedAttempt]) -> int:
        """Count the attempts that the task has used up."""
        charged = free = 0
        for attempt in _counted(history):
            kind = attempt.verdict.kind
            if self._can_halve(attempt):
                continue  # the remedy is at hand, and runs out by itself
            others_fault = attempt.foreign or (attempt.crowded and not attempt.took_too_much)
            if kind in _FREE or (kind is Kind.OUT_OF_MEMORY and others_fault):
                free += 1
                charged += free > MAX_FREE_ATTEMPTS
            else:
                charged += 1
        return charged

    def _pause(self, history: Sequence[JudgedAttempt]) -> float:
        """Return the back-off in seconds: doubled for each counted failure, none after a lost attempt."""
        if history[-1].verdict.kind is Kind.LOST:
            return 0.0
        failures = sum(1 for _ in _counted(history))
        return min(MAX_BACKOFF, self.settings.backoff * 2.0 ** min(failures - 1, 16))


def is_timed_stage_done(history: Sequence[JudgedAttempt]) -> bool:
    """Say whether an attempt has measured what is timed, and left the rest to one that may share a device."""
    return any(attempt.verdict.kind is Kind.STAGE_DONE for attempt in history)


def _counted(history: Sequence[JudgedAttempt]) -> Iterator[JudgedAttempt]:
    """Yield the attempts that failed; a second one that measured but what is timed got no further."""
    stage_done = False
    for attempt in history:
        kind = attempt.verdict.kind
        if kind in _UNCOUNTED or (kind is Kind.STAGE_DONE and not stage_done):
            stage_done |= kind is Kind.STAGE_DONE
            continue
        yield attempt


def _kept_to_its_share(attempt: JudgedAttempt) -> bool:
    return attempt.taken is not None and not attempt.took_too_much


def _to_ask_for(history: Sequence[JudgedAttempt]) -> int | None:
    """Return how many bytes of a shared device to ask for next; None: as its sweep says.

    As much as any attempt was seen to take beyond what it had asked for. Where that is not known, one that
    ran out of memory beside others asks for twice as much.
    """
    asks = [
        _rounded(attempt.taken)
        for attempt in history
        if attempt.took_too_much and attempt.taken is not None
    ]
    asks += [
        2 * attempt.asked
        for attempt in history
        if attempt.verdict.kind is Kind.OUT_OF_MEMORY
        and attempt.crowded
        and attempt.taken is None
        and attempt.asked is not None
    ]
    return max(asks, default=None)


def _rounded(memory: int) -> int:
    return -(-memory // SHARE_STEP) * SHARE_STEP
