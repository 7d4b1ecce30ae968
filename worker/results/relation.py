"""Whether images have anything to do with their captions, by a scorer's figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from worker.results import statistics
from worker.results.statistics import Estimate

Related = Literal["yes", "no", "cannot tell yet"]

# Cohen's "large" difference, in standard deviations (Statistical Power Analysis, 1988). Blurred
# pictures of two steps lie above one, finished ones above two; noise lies around zero.
_LARGE = 0.8


@dataclass(frozen=True)
class Relation:
    """How much higher images score with their own captions than with those of others."""

    images: int
    own: float
    """Mean score with the own caption."""
    others: float
    """Mean score with another image's caption."""
    gain: Estimate
    """The difference with its interval over images."""
    scatter: float
    """Standard deviation of the scores with other captions, image and caption allowed for."""

    @property
    def answer(self) -> Related:
        """Whether the images show their captions.

        A yes is a gain above zero for sure. A no needs more than a gain that may be zero, which few
        images always leave open: that it is for sure no large one.
        """
        low, high = self.gain.low, self.gain.high
        if low is None or high is None or self.images < statistics.FEWEST_IMAGES:
            return "cannot tell yet"
        if low > 0:
            return "yes"
        return "no" if high <= _LARGE * self.scatter else "cannot tell yet"


def relation(scores: Sequence[Sequence[float]]) -> Relation:
    """Compare images' own captions with those of the others.

    Some captions score higher with any image, and some images with any caption: both are taken off
    each image's gain, or the interval would be of them. The mean stays what it is.

    Args:
        scores: of each image with each image's caption, at least two: a square with the own
            captions on the diagonal.
    """
    table = np.asarray(scores, dtype=np.float64)
    count = len(table)
    own = table.diagonal()
    by_image = (table.sum(axis=1) - own) / (count - 1)
    by_caption = (table.sum(axis=0) - own) / (count - 1)
    others = float(by_image.mean())
    rest = table - by_image[:, None] - by_caption[None, :] + others
    squares = float(np.square(rest).sum() - np.square(rest.diagonal()).sum())
    freedom = max(1, count * (count - 3) + 1)
    return Relation(
        count,
        float(own.mean()),
        others,
        statistics.mean(rest.diagonal().tolist()),
        math.sqrt(squares / freedom),
    )
