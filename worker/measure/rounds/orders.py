"""The order in which the arms of a block take their turns, balanced over the rounds.

A call may depend on what ran just before it (a hot device, a cold cache) and on how far into its
round it comes. In an order that only rotates, each arm always follows the same one, and what that
one leaves behind stands in the arm's times. The orders here are the rows of Williams' squares, which
balance both: E. J. Williams 1949, Experimental designs balanced for the estimation of residual
effects of treatments, Australian Journal of Scientific Research A 2:149.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

Order = tuple[int, ...]


def williams(arms: int) -> list[list[Order]]:
    """Return a design for a number of arms: one square of orders, or for an odd number two.

    In each square every arm stands once at each place. Over the design it comes equally often right
    after each of the others: once, or with two squares twice.
    """
    zigzag = [(n + 1) // 2 if n % 2 else (arms - n // 2) % arms for n in range(arms)]
    square = [tuple((first + step) % arms for step in zigzag) for first in range(arms)]
    return [square, [order[::-1] for order in square]] if arms % 2 else [square]


class Orders:
    """A fresh order for each round; a new design is drawn when one is used up.

    Which arm takes which part in a design is drawn, and so is the order of its rows. So the last of
    a round and the first of the next, which no design says anything of, do not go together either.

    Args:
        seed: the same seed gives the same orders.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311  # no secret
        self._arms: Order = ()
        self._drawn: list[Order] = []

    def next(self, arms: Sequence[int]) -> Order:
        """Return the order of the next round.

        Args:
            arms: the numbers of those that take part. Where they are others than in the round
                before, a new design begins.
        """
        if not self._drawn or tuple(arms) != self._arms:
            self._arms, self._drawn = tuple(arms), self._draw(arms)
        return self._drawn.pop()

    def _draw(self, arms: Sequence[int]) -> list[Order]:
        parts = self._random.sample(arms, len(arms))
        squares = williams(len(arms))
        self._random.shuffle(squares)
        for square in squares:
            self._random.shuffle(square)
        return [tuple(parts[part] for part in order) for square in squares for order in square]
