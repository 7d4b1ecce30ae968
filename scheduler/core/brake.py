"""The brake: a sweep whose first tasks all fail alike stops, before all the others do so too. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from scheduler.core.retry import JudgedAttempt
from scheduler.core.verdict import Kind, Verdict

# What speaks of the code that all tasks share. Memory and time may be too little for the first values of an
# axis only; devices, disks and networks come back.
COUNTED = frozenset(
    {
        Kind.WRONG_CODE,
        Kind.FAILED,
        Kind.NO_SUCCESS_LINE,
        Kind.SIGNALLED,
        Kind.STALLED,
        Kind.TOO_MUCH_OUTPUT,
    }
)
# Their causes quote what the worker happened to print last, or measured.
_NO_QUOTE = frozenset({Kind.NO_SUCCESS_LINE, Kind.STALLED, Kind.TOO_MUCH_OUTPUT})
_COMPARED = 120  # characters; longer causes were cut, at a place that depends on what they hold
_EXIT = re.compile(r"exit code \d+")
_DIFFERS = re.compile(
    r"""0x[0-9a-fA-F]+                      # an address
    | '[^']*/[^']*' | "[^"]*/[^"]*"         # a path in quotes, which may hold spaces
    | [^\s'"(),;:=<>\[\]]*/[^\s'"(),;:=<>\[\]]*  # any other
    | \b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b       # a digest
    | \d+(?:[.:,]\d+)*(?:[eE][+-]?\d+)?     # a number, a time""",
    re.VERBOSE,
)


def likeness(verdict: Verdict) -> tuple[Kind, str, str]:
    """Return what two failures have in common if they are alike: the kind, the exit code, the cause.

    Of the cause, numbers, addresses, digests and paths do not count: they differ from task to task.
    """
    ended = _EXIT.search(verdict.cause)
    words = "" if verdict.kind in _NO_QUOTE else _DIFFERS.sub("#", verdict.cause)
    return verdict.kind, ended[0] if ended is not None else "", words[:_COMPARED]


class Brake:
    """Watches the first failures of a dispatcher; ``on``: nothing more is to be started."""

    def __init__(self, stop_after: int | None, alike: Collection[str] = ()) -> None:
        """Begin with no failure.

        Args:
            stop_after: how many tasks must fail alike; None: no number is enough.
            alike: devices that are parts of one whole, none of which can be at fault alone.
        """
        self.on = False
        self._stop_after = stop_after
        self._alike = frozenset(alike)
        self._first: Verdict | None = None
        # Of tasks that have failed: the devices of the last time.
        self._failed: dict[int, tuple[str, ...]] = {}

    def release(self) -> None:
        """A task was completed, or failed otherwise: the code is not what fails them all."""
        self._stop_after = None

    def begin_anew(self, stop_after: int | None) -> None:
        """Forget what has failed: from now on other settings are tried."""
        self.on, self._first, self._failed = False, None, {}
        self._stop_after = stop_after

    def failed(self, task: int, attempt: JudgedAttempt, running_on: Iterable[str]) -> bool:
        """Take a failed attempt; say whether it is the one too many.

        Args:
            task: whose.
            attempt: the attempt.
            running_on: the devices of the attempts that run now. As long as the failures come from one
                device and others are at work, it may be the device.
        """
        verdict = attempt.verdict
        if self._stop_after is None or self.on or verdict.kind not in COUNTED:
            return False
        if self._first is None:
            self._first = verdict
        if likeness(verdict) != likeness(self._first):
            self.release()
            return False
        self._failed[task] = attempt.devices
        devices = {device for used in self._failed.values() for device in used}
        one = len(devices) == 1 and devices.isdisjoint(self._alike)
        if len(self._failed) < self._stop_after or (one and not devices.issuperset(running_on)):
            return False
        self.on = True
        return True

    @property
    def tasks(self) -> int:
        """How many tasks have failed alike."""
        return len(self._failed)

    @property
    def cause(self) -> str:
        """The cause of the first of them."""
        return self._first.cause if self._first is not None else ""
