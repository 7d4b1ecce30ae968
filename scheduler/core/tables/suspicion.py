"""What speaks against a device: tasks that fail there and nowhere else. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from scheduler.core.retry import SUSPICIOUS, JudgedAttempt
from scheduler.core.verdict import Kind

# What speaks against a device since its last completion, each task once, if it failed nowhere else:
# it was completed elsewhere, or it is given up without having been tried elsewhere.
PROVEN, GIVEN_UP = 2, 1
SET_ASIDE_AT = 6  # three tasks that are fine elsewhere
OWN_ERRORS = 2  # tasks that met an error of the device itself
# Tasks in a row that failed on it and nowhere else: from then on what fails there is tried elsewhere.
SUSPECT_AFTER = 2


@dataclass(slots=True)
class _Failure:
    """A task that failed on a device, since that last completed one, and on no other."""

    # When it first did.
    since: float
    own_error: bool = False
    weight: int = 0


@dataclass(slots=True)
class Suspicion:
    """The failures on one device since it last completed a task, or was set aside."""

    last_cause: str = ""
    _by_task: dict[int, _Failure] = field(default_factory=dict)
    # Of all of them.
    _own_errors: int = 0
    _weight: int = 0

    def __bool__(self) -> bool:
        """Whether anything failed there and nowhere else."""
        return bool(self._by_task)

    @property
    def is_suspect(self) -> bool:
        """Whether what fails there is rather tried elsewhere."""
        return len(self._by_task) >= SUSPECT_AFTER

    @property
    def has_own_errors(self) -> bool:
        """Whether so many tasks met an error of the device itself that it must be set aside."""
        return self._own_errors >= OWN_ERRORS

    @property
    def is_grave(self) -> bool:
        """Whether the device must be set aside if tasks are completed elsewhere meanwhile."""
        return self._weight >= SET_ASIDE_AT

    @property
    def since(self) -> float:
        """When the first of them failed."""
        return min((failure.since for failure in self._by_task.values()), default=math.inf)

    def add(self, task: int, attempt: JudgedAttempt) -> None:
        """Note that a task failed there."""
        failure = self._by_task.setdefault(task, _Failure(attempt.ended))
        if attempt.verdict.kind is Kind.DEVICE_ERROR and not failure.own_error:
            failure.own_error = True
            self._own_errors += 1
        self.last_cause = attempt.verdict.cause

    def weigh(self, task: int, weight: int) -> bool:
        """Let a task's end say how much its failure says; return whether it failed there."""
        failure = self._by_task.get(task)
        if failure is None:
            return False
        self._weight += weight - failure.weight
        failure.weight = weight
        return True

    def acquit(self, task: int) -> None:
        """Forget a task that failed elsewhere, too."""
        if (failure := self._by_task.pop(task, None)) is not None:
            self._own_errors -= failure.own_error
            self._weight -= failure.weight

    def clear(self) -> None:
        """Forget them all."""
        self._by_task.clear()
        self._own_errors = self._weight = 0


def speaks_of_a_device(attempt: JudgedAttempt) -> str | None:
    """Return the device that a failed attempt speaks against, if it is one."""
    return attempt.only_device if attempt.verdict.kind in SUSPICIOUS else None
