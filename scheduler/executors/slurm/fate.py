"""What becomes of an attempt, by what Slurm says of its job and what its files show. Pure.

Slurm's word that a job has ended is believed once the lock on its attempts file is free. Its word that a node
has failed, or that there is no such job, is not: the processes may live on where nobody sees them. Such an
attempt is over when nothing has come of it for twice the time of its lease, in which its job must have ended
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SETTLE = 2.0  # seconds in which what a job wrote last can be read
_QUEUED = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"})
_OVER = frozenset(
    {
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "PREEMPTED"),
        *("DEADLINE", "BOOT_FAIL", "REVOKED"),
    }
)
# Perhaps its processes live on.
_UNCERTAIN = frozenset({"NODE_FAIL", "UNKNOWN"})


class JobState(Enum):
    """What a state of Slurm's comes to."""

    QUEUED = "queued"
    LIVES = "lives"
    OVER = "over"
    UNCERTAIN = "uncertain"


def understood(state: str | None) -> JobState:
    """Return what a state comes to, as squeue names it; None: it lists no such job."""
    if state is None or state in _UNCERTAIN:
        return JobState.UNCERTAIN
    if state in _QUEUED:
        return JobState.QUEUED
    return JobState.OVER if state in _OVER else JobState.LIVES


@dataclass(slots=True)
class Doubt:
    """Since when an attempt may be over, and what its sign of life was then."""

    state: JobState
    since: float
    sign: bytes

    def is_lost(self, sign: bytes, now: float, lease: float) -> bool:
        """Say whether nothing of the attempt can live any more, its lock apart.

        Args:
            sign: its sign of life, as it is now.
            now: the time, on the clock of ``since``.
            lease: seconds.
        """
        if self.state is JobState.OVER:
            return now - self.since >= SETTLE
        if sign != self.sign:
            self.sign, self.since = sign, now
        return now - self.since >= 2 * lease
