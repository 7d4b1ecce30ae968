"""What the null arm, the baseline with other starting latents, says of a measurement.

It is the baseline once more, so its speed-up is 1 and its loss 0. What it comes out at instead is
what this measurement makes of no difference at all; smaller differences of other configurations
say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from worker.results import statistics
from worker.results.row import MEASURED, Measurement
from worker.results.statistics import Estimate

Speed = Literal["faster", "slower", "cannot tell"]
Quality = Literal["better", "worse", "cannot tell"]

NOT_TIMED = "no speed was measured"


@dataclass(frozen=True)
class NullArm:
    """What was measured of it, and what this makes of other configurations' figures."""

    speedup: Estimate | None
    """None where it, or its interval, is not known."""
    loss: Estimate | None
    """Relative loss of CLIP score; None where it, or its interval, is not known."""
    unknown: str | None = None
    """Why the speed-up is not known; None where it is."""

    @classmethod
    def of(cls, rows: Iterable[Measurement]) -> NullArm:
        """Return what the rows of one study say of their null arm."""
        row = next((row for row in rows if row.is_null_arm), None)
        if row is None:
            return cls(None, None, "no null arm was measured")
        if row.status != MEASURED:
            return cls(None, None, f"of the null arm nothing is known: {row.status}")
        speedup, loss = row.estimate_of("speedup"), _loss(row)
        if not row.is_timed:
            return cls(None, loss, NOT_TIMED)
        if speedup is None or speedup.low is None:
            few = f"the null arm has fewer than {statistics.FEWEST_PAIRS} timed rounds"
            return cls(None, loss, few)
        return cls(speedup, loss)

    @property
    def biased(self) -> bool:
        """Whether its interval excludes a speed-up of 1."""
        return self.speedup is not None and _side(self.speedup, 1) != 0

    @property
    def too_few_prompts(self) -> bool:
        """Whether its interval excludes a loss of 0: other latents alone change the mean score."""
        return self.loss is not None and _side(self.loss, 0) != 0

    @property
    def least_loss(self) -> float | None:
        """The least difference in quality that says anything; None where it is not known."""
        return None if self.loss is None else _farthest(self.loss, 0)

    def least_difference(self, row: Measurement | None = None) -> float | None:
        """Return the least distance of a speed-up from 1 that says anything, or None: not known.

        It is the farthest end of the null arm's interval, or the configuration's own half-width
        where that is more. What is biased may have moved the configuration as far, and its own
        uncertainty comes on top.

        Args:
            row: the configuration; None for one that is known exactly.
        """
        if self.speedup is None:
            return None
        seen = _farthest(self.speedup, 1)
        gain = None if row is None else row.estimate_of("speedup")
        own = None if gain is None else gain.relative_half_width
        if own is None:
            return seen
        return seen + own if self.biased else max(seen, own)

    def speed(self, row: Measurement) -> Speed:
        """Say whether a configuration is faster than the baseline.

        Where the null arm is not known its own interval decides alone.
        """
        gain = row.estimate_of("speedup")
        side = 0 if gain is None else _side(gain, 1, self.least_difference(row) or 0)
        return "faster" if side > 0 else "slower" if side < 0 else "cannot tell"

    def quality(self, row: Measurement) -> Quality:
        """Say whether a configuration's images score better than the baseline's."""
        loss = _loss(row)
        side = 0 if loss is None else _side(loss, 0, self.least_loss or 0)
        return "worse" if side > 0 else "better" if side < 0 else "cannot tell"

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in a results file; what is not known is left out."""
        plain: dict[str, Any] = {}
        if self.speedup is not None:
            plain["speedup"] = _ends(self.speedup)
            plain["least_difference"] = self.least_difference()
            plain["biased"] = self.biased
        else:
            plain["not_known"] = self.unknown
        if self.loss is not None:
            plain["quality_loss"] = _ends(self.loss)
            plain["least_loss"] = self.least_loss
            plain["too_few_prompts"] = self.too_few_prompts
        return plain

    def in_words(self) -> str:
        """Return what it says of speed, in one sentence."""
        gain, seen = self.speedup, self.least_difference()
        if gain is None or seen is None:
            return f"what differences this run could see is not known: {self.unknown}"
        came_out = f"{gain.value:.2f} [{gain.low:.2f}, {gain.high:.2f}]"
        if self.biased:
            return (
                f"biased: the baseline with other seeds came out at {came_out} where 1 is right; "
                "speed-ups of this run may be off by as much"
            )
        return f"null arm {came_out}: {_sees(seen)}"

    def loss_in_words(self) -> str | None:
        """Return what it says of quality, in one sentence; None where nothing is known."""
        loss, seen = self.loss, self.least_loss
        if loss is None or seen is None:
            return None
        came_out = f"{loss.value:+.2%} [{loss.low:+.2%}, {loss.high:+.2%}]"
        if self.too_few_prompts:
            return (
                f"too few prompts: other seeds alone came out at a loss of {came_out} where 0 is "
                f"right; less than {_percent(seen)} says nothing"
            )
        return f"null arm's loss {came_out}: less than {_percent(seen)} says nothing"


@dataclass(frozen=True)
class Told:
    """Whether a configuration differs from the baseline by more than the null arm does."""

    speed: Speed | None
    """None where no speed was measured."""
    speedup: Estimate | None
    least_difference: float | None
    """The least distance of its speed-up from 1 that says anything; None where it is not known."""
    quality: Quality | None
    """None where no quality was measured."""
    loss: Estimate | None = None
    """Relative loss of CLIP score."""

    @classmethod
    def of(cls, row: Measurement, null: NullArm) -> Told:
        """Return what the null arm makes of a configuration."""
        return cls(
            null.speed(row) if row.is_timed else None,
            row.estimate_of("speedup"),
            null.least_difference(row),
            None if row.estimate_of("quality_loss") is None else null.quality(row),
            row.estimate_of("quality_loss"),
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in a results file; what is not known is left out."""
        plain: dict[str, Any] = {} if self.speed is None else {"speed": self.speed}
        if self.least_difference is not None:
            plain["least_difference"] = self.least_difference
        for name, found in (("speedup_interval", self.speedup), ("loss_interval", self.loss)):
            if found is not None and found.low is not None:
                plain[name] = [found.low, found.high]
        return plain if self.quality is None else plain | {"quality": self.quality}

    def in_words(self, beside: str = "") -> str:
        """Return it as a clause, with the reason where the speed is open.

        Args:
            beside: what is to stand right behind the speed.
        """
        quality = "" if self.quality is None else f"; quality: {self.quality}"
        speed = "not measured" if self.speed is None else self.speed
        return f"speed: {speed}{beside}{self._reason()}{quality}"

    def _reason(self) -> str:
        if self.speed != "cannot tell":
            return ""
        if self.speedup is None or self.speedup.low is None or self.speedup.high is None:
            return f": fewer than {statistics.FEWEST_PAIRS} timed rounds"
        if self.least_difference is not None:
            return f": {_sees(self.least_difference)}"
        return f": 1 lies within [{self.speedup.low:.2f}, {self.speedup.high:.2f}]"


def _sees(least: float) -> str:
    """Return the least difference as a clause."""
    return f"this run could see differences of {_percent(least)} and more"


def _percent(share: float) -> str:
    """Return a share with two digits, such as 2.1% or 12%."""
    return f"{100 * share:.2g}%" if share < 0.995 else f"{100 * share:.0f}%"


def _loss(row: Measurement) -> Estimate | None:
    """Return a row's loss, or None where it is of too few images to say anything."""
    enough = (row.value_of("images_scored") or 0) >= statistics.FEWEST_IMAGES
    loss = row.estimate_of("quality_loss") if enough else None
    return None if loss is None or loss.low is None else loss


def _side(found: Estimate, neutral: float, least: float = 0) -> int:
    """Return 1 or -1 for what surely lies above or below, by at least so much; else 0."""
    if found.low is None or found.high is None or abs(found.value - neutral) < least:
        return 0
    return (found.low > neutral) - (found.high < neutral)


def _farthest(found: Estimate, neutral: float) -> float:
    """Return how far the interval reaches from where it should be."""
    return max(abs(end - neutral) for end in (found.low, found.high) if end is not None)


def _ends(found: Estimate) -> dict[str, float | None]:
    return {"value": found.value, "low": found.low, "high": found.high}
