"""Whether what a search chose keeps its promise on prompts that the search did not see.

The best of many on some prompts owes part of that to chance. Where it is not confirmed the next best is
looked at on the same other prompts, so there are several chances to be wrong, and the error is spent over
them: the first may err in 2.5 % of cases (a 95 % interval has so much at each end), each further one in half
of that. Which is the next follows from the search's own prompts alone, so that by the union bound one
that loses more is called confirmed in less than 5 % of searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.measure.adaptive.decisions import loss_in_words, percent
from worker.measure.adaptive.sequential import loss_interval
from worker.results.frontier import Best, best, bound
from worker.results.null_arm import NullArm
from worker.results.row import Row
from worker.results.statistics import Estimate

# of the first, in both ends of its interval
_ERROR = 0.05


@dataclass(frozen=True)
class Verdict:
    """What one that was chosen came to on other prompts."""

    best: Best
    """Its figures there, and whether it surely keeps the bound and is faster."""
    keeps: bool
    """Whether it surely keeps the bound, and nothing tells that it is no faster than the baseline."""
    is_refuted: bool
    """Whether it surely does not keep the bound, or is not told to be faster."""
    why: str
    """The same in words."""


def verdict(label: str, row: Row | None, null: NullArm, max_loss: float, number: int) -> Verdict:
    """Judge one that was chosen.

    Args:
        label: its own.
        row: what was measured of it on other prompts; None where nothing could be.
        null: what was measured of the null arm on them.
        max_loss: the bound.
        number: how many were judged before it.
    """
    loss = None if row is None else row.estimate_of("quality_loss")
    found = None if row is None else best([row], max_loss, null)
    if row is None or loss is None or found is None:
        return Verdict(Best(label, 1.0, 0.0, within=False), False, True, "failed on unseen prompts")
    loss = _widened(row, loss, number)
    is_refuted = found.label == "baseline"
    answered = bound(row, max_loss).answer
    is_within = answered == "within" and loss.high is not None and loss.high <= max_loss
    speedup = row.value_of("speedup") or 1.0
    kept = "surely" if is_within else "surely not" if answered == "not within" else "perhaps"
    why = (
        f"{speedup:.2f}×, loss {loss_in_words(loss)} on {len(row.samples.clip_score)} unseen prompts: "
        f"{kept} within {percent(max_loss)}"
    )
    if is_refuted and answered != "not within":
        why += ", and not told to be faster than the baseline"
    return Verdict(
        Best(
            label,
            speedup,
            loss.value,
            is_within and found.within and not is_refuted,
            found.more_images,
        ),
        is_within and not is_refuted,
        is_refuted,
        why,
    )


def best_of(verdicts: Sequence[Verdict]) -> Best:
    """Return the confirmed one, else the fastest that may keep the bound, else the baseline."""
    left = [item for item in verdicts if not item.is_refuted]
    if not left:
        return Best("baseline", 1.0, 0.0, within=True)
    return max(left, key=lambda item: (item.keeps, item.best.speedup)).best


def _widened(row: Row, loss: Estimate, number: int) -> Estimate:
    """Return a loss with the interval that is left for one that so many were judged before."""
    if number == 0:
        return loss
    figures = row.samples
    pairs = [
        (beside, own)
        for beside, own in zip(figures.baseline_clip_score, figures.clip_score, strict=True)
        if beside is not None and own is not None
    ]
    baseline, scores = np.asarray(pairs, float).T
    return loss_interval(baseline, scores, _ERROR / 2**number)
