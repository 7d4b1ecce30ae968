"""Whether what a search chose keeps its promise on prompts that the search did not see.

The best of many on some prompts owes part of that to chance. Where it is not confirmed the next best is
looked at on the same other prompts, so there are several chances to be wrong, and the error is spent over
them: the first may err in 1 % of cases (half of what its interval may at both ends), each further one in half
of that. Which is the next follows from the search's own prompts alone, so that the union bound adds them
up, to less than 2 % of searches. Of the few prompts that there are no interval keeps exactly what it
says where few images lose much (Student's t errs up to six times as often), which is what is left up to 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.measure.adaptive.decisions import Goal, loss_in_words, percent
from worker.measure.adaptive.sequential import skewed_interval
from worker.results import statistics
from worker.results.frontier import Best, best, bound
from worker.results.null_arm import NullArm
from worker.results.row import Row
from worker.results.statistics import Estimate

# of the first, at both ends of its interval
_ERROR = 0.02


@dataclass(frozen=True)
class Verdict:
    """What one that was chosen came to on other prompts."""

    best: Best
    """Its figures there, and whether it surely keeps the bound and is faster."""
    keeps: bool
    """Whether it surely keeps the bound, is as fast as the target, where there is one, and nothing tells
    that it is no faster than the baseline."""
    is_refuted: bool
    """Whether it surely does not keep the bound, or is not told to be faster."""
    why: str
    """The same in words."""
    figures: str | None = None
    """Speed-up and loss, with the interval that decided, and on how many prompts; None: it failed."""


def verdict(label: str, row: Row | None, null: NullArm, goal: Goal, number: int) -> Verdict:
    """Judge one that was chosen.

    Args:
        label: its own.
        row: what was measured of it on other prompts; None where nothing could be.
        null: what was measured of the null arm on them.
        goal: the bound, and the speed-up that is to be reached.
        number: how many were judged before it.
    """
    loss = None if row is None else row.estimate_of("quality_loss")
    found = None if row is None else best([row], goal.max_loss, null)
    if row is None or loss is None or found is None:
        return Verdict(Best(label, 1.0, 0.0, within=False), False, True, "failed on unseen prompts")
    loss = _widened(row, number) or loss
    is_refuted = found.label == "baseline"
    answered = bound(row, goal.max_loss).answer
    is_within = answered == "within" and statistics.answer(loss, goal.max_loss) == "within"
    gain = row.estimate_of("speedup") or Estimate(1.0)
    is_fast = gain.value >= (goal.target_speedup or 1.0)
    figures = f"{gain.value:.2f}×, loss {loss_in_words(loss)} on {len(row.samples.clip_score)}"
    kept = "surely" if is_within else "surely not" if answered == "not within" else "perhaps"
    why = f"{figures} unseen prompts: {kept} within {percent(goal.max_loss)}"
    if is_refuted and answered != "not within":
        why += ", and not told to be faster than the baseline"
    elif not is_fast:
        why += f", and too slow for {goal.target_speedup:g}×"
    elif is_within and not found.within:
        why += f", and perhaps faster than the baseline{_little_timed(gain)}"
    return Verdict(
        Best(
            label,
            gain.value,
            loss.value,
            is_within and found.within and not is_refuted,
            found.more_images or (None if is_within else _more_images(row, loss, goal.max_loss)),
        ),
        is_within and is_fast and not is_refuted,
        is_refuted,
        why,
        f"{figures} prompts",
    )


def _little_timed(gain: Estimate) -> str:
    return f" (fewer than {statistics.FEWEST_PAIRS} timed rounds)" if gain.low is None else ""


def _more_images(row: Row, loss: Estimate, max_loss: float) -> int | None:
    count = len(row.samples.clip_score)
    needed = statistics.images_to_decide(loss, max_loss, count)
    return None if needed is None else needed - count


def error_of(number: int) -> float:
    """Return in which share of cases the interval of one that so many were judged before may err."""
    return _ERROR * 0.5**number


def best_of(verdicts: Sequence[Verdict]) -> Best:
    """Return the confirmed one, else the fastest that may keep the bound, else the baseline."""
    left = [item for item in verdicts if not item.is_refuted]
    if not left:
        return Best("baseline", 1.0, 0.0, within=True)
    return max(left, key=lambda item: (item.keeps, item.best.speedup)).best


def _widened(row: Row, number: int) -> Estimate | None:
    """Return a loss with the interval that is left for one that so many were judged before."""
    pairs = row.samples.score_pairs()
    if not pairs:
        return None
    baseline, scores = np.asarray(pairs, float).T
    return skewed_interval(baseline, scores, error_of(number))
