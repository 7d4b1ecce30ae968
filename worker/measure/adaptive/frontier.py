"""The frontier of speed and loss, and how much of it hangs on one configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Point = tuple[float, float]
"""Speed-up and relative loss."""


def frontier(points: Mapping[str, Point], max_loss: float) -> list[str]:
    """Return the names of what no faster one beats in loss, the slowest first.

    A gain of quality counts as no loss: it may be chance, and would let slower ones stand.
    """
    kept: list[str] = []
    least = max_loss
    for name, (speed, loss) in sorted(points.items(), key=lambda item: -item[1][0]):
        if speed > 1 and (max(0.0, loss) < least or (not kept and loss <= max_loss)):
            kept.append(name)
            least = max(0.0, loss)
    return kept[::-1]


def hypervolume(points: Iterable[Point], max_loss: float) -> float:
    """Return the area that points dominate, up to a loss of ``max_loss`` and down to a speed-up of 1.

    Zitzler and Thiele 1999 (IEEE Transactions on Evolutionary Computation 3:257).
    """
    volume, least = 0.0, max_loss
    for speed, loss in sorted(points, reverse=True):
        lost = max(0.0, loss)
        if speed > 1 and lost < least:
            volume += (speed - 1) * (least - lost)
            least = lost
    return volume


def swing(points: Mapping[str, Point], name: str, ends: Point, max_loss: float) -> float:
    """Return by which share of the hypervolume it hangs on where in an interval one's loss lies.

    Args:
        points: of all, by name.
        name: of the one.
        ends: of its loss, the better first.
        max_loss: up to which the hypervolume counts.
    """
    speed = points[name][0]
    best, worst = (hypervolume({**points, name: (speed, end)}.values(), max_loss) for end in ends)
    return (best - worst) / best if best else 0.0
