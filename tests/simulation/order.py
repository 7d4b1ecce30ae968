"""What "the longest first" promises, said another way than the core does it: from all completions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_SLACK = 2e-6  # the core rounds what it expects


class LongestFirstProperties:
    """The completions that a dispatcher has seen, and which task must come first by them."""

    def __init__(self, values: Mapping[str, Sequence[int]]) -> None:
        self._values = dict(values)
        self._took: dict[str, float] = {}
        self._known: list[tuple[Sequence[int], float]] = []
        # As many of the completions as there were when the core last had to look.
        self._looked_at = 0
        self._next_look = 1

    def learn_of(self, values: Mapping[str, Sequence[int]]) -> None:
        """Note the values of further tasks."""
        self._values.update(values)

    def ended(self, task: str, seconds: float) -> None:
        """Note how long an attempt took."""
        self._took[task] = seconds

    def completed(self, task: str) -> None:
        """Note that it completed its task."""
        if (seconds := self._took.pop(task, 0.0)) > 0:
            self._known.append((self._values[task], math.log(seconds)))
            if len(self._known) >= self._next_look:
                self.look()
                self._next_look = self._looked_at + 1 + self._looked_at // 4

    def look(self) -> None:
        """Note that the order follows from all that is known now."""
        self._looked_at = len(self._known)

    def may_begin(self, task: str, waiting: Sequence[str]) -> bool:
        """Say whether a task is the first of those that wait, which are in the sweep's order."""
        longest = max(map(self._expected, waiting))
        alike = [other for other in waiting if self._values[other] == self._values[task]]
        return self._expected(task) >= longest - _SLACK and task == alike[0]

    def _expected(self, task: str) -> float:
        """Return the logarithm of the factor by which a task should take longer than others."""
        known = self._known[: self._looked_at]
        total = 0.0
        for axis, value in enumerate(self._values[task]):
            same = [took for values, took in known if values[axis] == value]
            if same:
                total += sum(same) / len(same) - sum(took for _, took in known) / len(known)
        return total
