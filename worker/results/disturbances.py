"""What disturbed the timed batches, and which rounds a speed-up is then taken from.

Load that is there now and then hits one arm's call and not the other's, and a host-bound arm harder
than one that is not. By simulation (benchmarks/disturbed_rounds.py; load half of the time, in turns of
5 s, that slows the one arm by 1.6 and the other by 1.2) leaving out disturbed rounds takes the error
from 12 % to 7 %, and with load for a fifth of the time from 1.2 % to 0.2 %. A round is left out for
what was read of host and device, not for the time that it took (but where that is three times as
long as usual), so no arm is favoured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TypeVar

from worker.results.row import Measurement
from worker.results.statistics import FEWEST_PAIRS

T = TypeVar("T")


def undisturbed(values: Sequence[T], disturbed: Collection[int]) -> list[T]:
    """Return the values of the undisturbed rounds, or all where those are too few for an interval.

    Args:
        values: one for each round.
        disturbed: the rounds that something disturbed, counted from 0.
    """
    kept = [value for number, value in enumerate(values) if number not in disturbed]
    return kept if len(kept) >= FEWEST_PAIRS else list(values)


def in_words(rows: Sequence[Measurement]) -> str | None:
    """Return how many of the rows' timed batches were disturbed and kept, and by what.

    None where none was.
    """
    kept: Counter[str] = Counter()
    for row in rows:
        kept.update({kind: counts.kept for kind, counts in row.disturbed.items() if counts.kept})
    if not kept:
        return None
    timed = sum(int(row.value_of("timed_batches") or 0) for row in rows)
    causes = ", ".join(f"{kind} ({count})" for kind, count in kept.most_common())
    return f"{sum(kept.values())} of {timed} batches disturbed: {causes}"
