"""Our dispatcher among those of the machine: what it asks of them for itself, and leaves to them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from scheduler.core.journal_events import ShareAsked
from scheduler.devices.fairness.claims import Claim, Demand, Leaving
from scheduler.devices.fairness.notes import Note, Notes
from scheduler.devices.idle import IdleCode, IdleReason
from scheduler.devices.processes import user_name

# Seconds for which devices must be wanted before others are told: what falls free at once is no wait.
BEFORE_ASKING = 1.0


class FairShare:
    """Asks for devices, and says which to leave to whom."""

    def __init__(
        self, leases: Path, idle_for: float, in_use: Callable[[], tuple[Collection[str], float]]
    ) -> None:
        """Begin without asking for anything.

        Args:
            leases: the folder of the leases.
            idle_for: seconds for which a device must be idle before the sweep uses it.
            in_use: returns which devices we use, and when we last got or gave up one (monotonic).
        """
        # What the sweep wants at the moment.
        self.demand: Callable[[], Demand] = Demand
        self._idle_for = idle_for
        self._in_use = in_use
        self._note = Note(leases)
        self._notes = Notes(leases)
        self._leaving = Leaving(os.geteuid())
        # Since when devices are wanted (monotonic); None: none are.
        self._wants_since: float | None = None
        self._told = False

    def is_left(self, device: str) -> bool:
        """Say whether the device is left to somebody now."""
        return self._leaving.is_left(device)

    def taken(self, device: str) -> None:
        """Take note that the device is in use, by us or by others."""
        self._leaving.in_use(device, time.monotonic())

    def why_left(self, device: str, free_since: float | None) -> IdleReason | None:
        """Return why a device that we could start something on is left to others; None: it is not.

        Args:
            device: its name.
            free_since: since when nobody uses it (monotonic); None: attempts of ours are still on it.
        """
        others = self._notes.read(self._note.name)
        if not others:
            self._leaving.withdraw(device)
            return None
        now, (in_use, changed) = time.monotonic(), self._in_use()
        used = [name for name in in_use if name != device and not self.is_left(name)]
        own = self._claim(len(used), changed, now)
        if free_since is not None and device not in own.devices:
            self._leaving.withdraw(device)
            return None
        claim = self._leaving.decide(device, own, others, now, free_since)
        if claim is None:
            return None
        who = f"process {claim.pid}, user {user_name(claim.uid)}"
        return IdleReason(IdleCode.LEFT, f"{who}: {claim.why_before(own)}")

    def tell(self) -> Iterator[ShareAsked]:
        """Have our claim stand if devices are wanted, for others to read; yield what has changed."""
        now, (in_use, changed) = time.monotonic(), self._in_use()
        claim = self._claim(len(in_use), changed, now)
        if not claim.more:
            self._wants_since = None
            self._note.remove()
        elif self._wants_since is None:
            self._wants_since = now
        elif now - self._wants_since >= BEFORE_ASKING:
            self._note.write(claim)
        asks = self._wants_since is not None and now - self._wants_since >= BEFORE_ASKING
        if asks != self._told:
            self._told = asks
            yield ShareAsked(asks)

    def finish(self) -> None:
        """Ask for nothing any more."""
        self._note.remove()

    def _claim(self, in_use: int, changed: float, now: float) -> Claim:
        demand = self.demand()
        since = now if self._wants_since is None else self._wants_since
        return Claim(
            self._note.name,
            os.geteuid(),
            os.getpid(),
            demand.priority,
            in_use,
            demand.wanted.more,
            frozenset(demand.wanted.devices),
            max(since, changed),
            self._idle_for,
            demand.wanted.at_once,
        )
