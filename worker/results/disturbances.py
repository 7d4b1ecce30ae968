"""What disturbed the timed batches, and which rounds a speed-up is then taken from.

Load that comes and goes hits one arm's call and not the other's, and slows a host-bound arm more than
another. By simulation (benchmarks/disturbed_rounds.py) load for a fifth of the time, in turns of half a
second, that slows one arm by 1.6 and the other by 1.2 puts a speed-up of 24 rounds off by 1.7 %, and
by 0.5 % without the disturbed ones; with rounds until 1 % is known, by 1.2 and 0.3 %. A round is left
out for what was read of host and device, not for the time that it took (except where that was three
times as long as usual). In the same simulations this favours no arm, and the intervals stay honest.
Where fewer than six rounds are undisturbed nothing can be left out, and the load stands in the
speed-up: the row says so.
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


def is_beside_load(row: Measurement) -> bool:
    """Say whether disturbed rounds are part of a row's speed-up, since too few were undisturbed."""
    figures = row.samples
    kept = undisturbed(figures.seconds, figures.disturbed_rounds)
    return bool(figures.disturbed_rounds) and len(kept) == len(figures.seconds)


def in_words(rows: Sequence[Measurement]) -> str | None:
    """Return how many of the rows' timed batches were disturbed and kept, and by what.

    Also how many speed-ups this stands in. None where nothing was disturbed.
    """
    kept: Counter[str] = Counter()
    for row in rows:
        kept.update({kind: counts.kept for kind, counts in row.disturbed.items() if counts.kept})
    said = []
    if kept:
        timed = sum(int(row.value_of("timed_batches") or 0) for row in rows)
        causes = ", ".join(f"{kind} ({count})" for kind, count in kept.most_common())
        said.append(f"{sum(kept.values())} of {timed} batches disturbed: {causes}")
    said += filter(None, [beside_load_in_words(sum(map(is_beside_load, rows)))])
    return "; ".join(said) or None


def beside_load_in_words(count: int) -> str | None:
    """Return how many speed-ups disturbed rounds are part of; None where it is none."""
    if not count:
        return None
    those = "1 speed-up is" if count == 1 else f"{count} speed-ups are"
    return f"{those} from disturbed rounds"
