"""When the rounds of a block end: after a number, at a precision, or with the time for it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from worker.config.settings import Timing
from worker.measure.samples import Samples
from worker.results.stopping import FEWEST_TO_STOP, StoppingRule


class Ending:
    """When the rounds of one block end; its clock begins to run when it is made.

    With a precision, rounds go on until the interval of every arm that still runs is that narrow,
    but no further round begins once the time for it is spent. No arm ends before the others.

    Args:
        timing: what is asked for.
        least: rounds that there are in any case.
    """

    def __init__(self, timing: Timing, least: int) -> None:
        self._rule = StoppingRule(timing.precision, least)
        self._spent_at = time.monotonic() + timing.longest

    def after(self, rounds: int, block: Sequence[Samples]) -> tuple[bool, str]:
        """Return whether this was the last round, and a few words for the log.

        Args:
            rounds: how many there were.
            block: what they gave, the baseline's first.
        """
        precision, least = self._rule.precision, self._rule.least
        arms = [samples for samples in block[1:] if samples.failure is None]
        if precision is None or not arms:
            return rounds >= least, f"round {rounds} of {least}"
        is_spent = rounds >= least and time.monotonic() >= self._spent_at
        if not is_spent and not self._rule.is_look(rounds):
            return False, f"round {rounds}" + (f" of at least {least}" if rounds <= least else "")
        pairs = _undisturbed(block[0], arms)
        widest = None if pairs is None else self._rule.reached(pairs)
        reached = "not known yet" if widest is None else f"±{100 * widest:.2g}%"
        if pairs is None:
            reached = f"fewer than {FEWEST_TO_STOP} undisturbed rounds"
        said = f"round {rounds}: {reached}, asked ±{100 * precision:g}%"
        if widest is not None and widest <= precision:
            return True, said
        return is_spent, f"{said}; the time for it is spent" if is_spent else said


def _undisturbed(
    baseline: Samples, arms: Sequence[Samples]
) -> list[tuple[list[float], list[float]]] | None:
    """Return the pairs of each arm, or None where an arm has too few that nothing disturbed.

    Of disturbed rounds the interval may be narrow, and still tell of the neighbours.
    """
    for arm in arms:
        if len(arm.seconds) - len(arm.disturbed_beside(baseline)) < FEWEST_TO_STOP:
            return None
    return [arm.pairs_with(baseline) for arm in arms]
