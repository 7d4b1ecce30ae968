"""Who has the best claim to a device that falls free, and for how long it is kept for them. Pure.

Each dispatcher decides about the devices that it could use itself, by what those that wait say of themselves.
The order of claims is the same for all: so the best one leaves a device to nobody, and two never leave the
same device to each other for longer than it takes to read what the other says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from scheduler.core.tables.matching import Wanted

# Seconds, beyond its own idle_for, that somebody has to take a device that is kept for it, and in all.
TO_TAKE = 3.0
LONGEST_KEPT = 30.0
# Seconds for which nothing is kept for somebody who did not take what was.
NOT_OFFERED = 600.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What a sweep wants beyond the devices that it uses."""

    priority: int = 0
    wanted: Wanted = field(default_factory=Wanted)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a dispatcher that waits for devices says of itself; anybody may have written it."""

    # Of its note: unlike any other's.
    name: str
    # Whose note it is, as the kernel says, and which process it says to be.
    uid: int
    pid: int
    priority: int
    # Devices that it uses, how many more it wants, and which of them would do.
    in_use: int
    more: int
    devices: frozenset[str]
    # Since when it has neither been given nor left a device (monotonic).
    since: float
    # Seconds for which a device must be idle before it takes it.
    idle_for: float
    # Fewer devices than that at once it does not take: its tasks have several each.
    at_once: int = 1

    @property
    def rank(self) -> tuple[int, int, float, str]:
        """What claims are ordered by, the best one first."""
        return -self.priority, self.in_use, self.since, self.name

    @property
    def patience(self) -> float:
        """Seconds for which a device is kept for it."""
        return min(self.idle_for + TO_TAKE, LONGEST_KEPT)

    def why_before(self, other: Claim) -> str:
        """Return in words why its claim is better than another's."""
        if self.priority != other.priority:
            return f"its priority is {self.priority}, ours {other.priority}"
        if self.in_use != other.in_use:
            return f"it uses {self.in_use} device(s), we {other.in_use} beside this one"
        return "it has waited longer"


@dataclass(slots=True)
class _Kept:
    """A device that is left to others."""

    # The best one; its devices in use are those of its note, and what else is left to it.
    claim: Claim
    # By who had the best claim: since when it could have taken the device (monotonic).
    since: dict[str | int, float] = field(default_factory=dict)
    # It was kept for long enough, in vain.
    over: bool = False


class Leaving:
    """What a dispatcher leaves to others."""

    def __init__(self, uid: int) -> None:
        """Begin with nothing.

        Args:
            uid: our own user, whose dispatchers are told apart; those of another user count as one, so that
                nobody is kept waiting by a new name each time.
        """
        self._uid = uid
        self._kept: dict[str, _Kept] = {}
        # By who did not take a device: until when none is kept for it; until when it has no excuse again.
        self._passed_over: dict[str | int, float] = {}
        self._excused: dict[str | int, float] = {}

    def is_left(self, device: str) -> bool:
        """Say whether the device is left to somebody now."""
        return device in self._kept and not self._kept[device].over

    def in_use(self, device: str, now: float) -> None:
        """Take note that somebody uses a device, we or others: it is not to be had any more."""
        kept = self._kept.get(device)
        if kept is not None and not kept.over and self._is_late(kept, now):
            self._passed_over[self._who(kept.claim)] = now + NOT_OFFERED
        self.withdraw(device)

    def withdraw(self, device: str) -> None:
        """Leave the device to nobody any more."""
        self._kept.pop(device, None)

    def decide(
        self, device: str, own: Claim, others: Sequence[Claim], now: float, free_since: float | None
    ) -> Claim | None:
        """Return to whom we leave a device; None: to nobody.

        Args:
            device: one that we could start something on.
            own: our claim; ``in_use`` counts the devices that we use beside this one and those that we leave.
            others: the claims of those that wait.
            now: the time (monotonic).
            free_since: since when nobody uses it; None: attempts of ours are still on it.
        """
        kept = self._kept.get(device)
        if kept is not None and kept.over:
            return None
        claims = self._claims(device, others)
        able = [claim for claim in claims if self._passed_over.get(self._who(claim), now) <= now]
        best = min(able, key=lambda claim: claim.rank, default=None)
        if best is None or best.rank >= own.rank:
            self.withdraw(device)
            return None
        if kept is None:
            kept = self._kept[device] = _Kept(best)
        kept.claim = best
        if free_since is not None:
            kept.since.setdefault(self._who(best), min(now, max(free_since, best.since)))
        if self._is_late(kept, now):
            kept.over = True
            # Somebody that we pass over may be before it; once, until it passes that one over, too.
            self._did_not_take(best, now, excuse=min(claim.rank for claim in claims) < best.rank)
        elif kept.since and now - min(kept.since.values()) >= LONGEST_KEPT:
            complete = best.at_once > 1 and self._could_take_since(kept) is not None
            kept.over = not complete  # else it has as long to take them as anybody
            if best.at_once > 1 and not complete:
                self._passed_over[self._who(best)] = now + NOT_OFFERED
        return None if kept.over else best

    def _is_late(self, kept: _Kept, now: float) -> bool:
        since = self._could_take_since(kept)
        return since is not None and now - since >= kept.claim.patience

    def _could_take_since(self, kept: _Kept) -> float | None:
        """Return since when who has the best claim could have taken a device, and as many as it must have."""
        who, claim = self._who(kept.claim), kept.claim
        if who not in kept.since:
            return None
        left = (other for other in self._kept.values() if not other.over)
        since = sorted(other.since[who] for other in left if who in other.since)
        if len(since) < claim.at_once:
            return None
        return max(kept.since[who], since[claim.at_once - 1])

    def _did_not_take(self, claim: Claim, now: float, *, excuse: bool) -> None:
        who = self._who(claim)
        if excuse and self._excused.get(who, now) <= now:
            self._excused[who] = now + NOT_OFFERED
        else:
            self._passed_over[who] = now + NOT_OFFERED

    def _claims(self, device: str, others: Sequence[Claim]) -> list[Claim]:
        """Return the claims to a device, where what else we leave to somebody counts as in its use.

        But not fewer than it takes at once.
        """
        claims = []
        for claim in others:
            left = self._not_yet_taken(claim, device)
            if device in claim.devices and claim.more > left:
                usable = left - left % claim.at_once
                claims.append(replace(claim, in_use=claim.in_use + usable))
        return claims

    def _not_yet_taken(self, claim: Claim, but: str) -> int:
        """Return how many other devices we leave to somebody that its note does not count as in its use."""
        left = [
            kept.claim.in_use
            for device, kept in self._kept.items()
            if kept.claim.name == claim.name and device != but and not kept.over
        ]
        taken = max(0, claim.in_use - min(left, default=0))
        return max(0, len(left) - taken)

    def _who(self, claim: Claim) -> str | int:
        return claim.name if claim.uid == self._uid else claim.uid
