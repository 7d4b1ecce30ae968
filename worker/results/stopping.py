"""When speed-ups are known well enough to stop timing.

A rule that stops because an interval looks narrow catches the moments in which the spread is
underestimated by chance: its plain 95 % interval holds the truth in 89 to 93 % of cases. Chow and
Robbins 1965 (Annals of Mathematical Statistics 36:457) show that this loss goes away as the wanted
width goes to zero; timings are far from that. So three things keep the interval honest: nothing is
believed before ten undisturbed rounds; the looks lie ever further apart, each after a quarter more
rounds; and the interval is wider by a constant, ``statistics.STOPPING_FACTOR``, at every look as in
the row. The rule reads widths alone, never on which side of 1 a speed-up lies, so it favours no outcome.
benchmarks/interval_coverage.py simulates what that covers, benchmarks/disturbed_rounds.py the same
where disturbed rounds are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from worker.results.statistics import speedup

# a narrow interval of fewer undisturbed rounds is too often luck
FEWEST_TO_STOP = 10
_GROWTH = 1.25


@dataclass(frozen=True)
class StoppingRule:
    """A number of rounds, or rounds until every arm is known to a precision."""

    precision: float | None
    """Relative half-width asked for; None for a fixed number of rounds."""
    least: int
    """Rounds at least."""

    def is_look(self, rounds: int) -> bool:
        """Say whether the intervals are looked at after this number of rounds."""
        if self.precision is None:
            return False
        look = max(self.least, FEWEST_TO_STOP)
        while look < rounds:
            look = math.ceil(look * _GROWTH)
        return look == rounds

    def reached(self, pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float | None:
        """Return the widest relative half-width of the arms' speed-ups.

        Args:
            pairs: seconds of the baseline and of the arm, round by round, for each arm.

        Returns:
            None where the interval of an arm is not known, 0 where there is no arm.

        Raises:
            ValueError: the seconds of an arm are not paired with the baseline's.
        """
        widest = 0.0
        for baseline, candidate in pairs:
            half = speedup(
                baseline, candidate, stopped_when_narrow=self.precision is not None
            ).relative_half_width
            if half is None:
                return None
            widest = max(widest, half)
        return widest
