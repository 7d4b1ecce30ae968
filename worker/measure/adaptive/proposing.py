"""Which configurations an adaptive search tries where there are too many to try each.

Optuna's TPE (Bergstra et al. 2011, NeurIPS 24) proposes them by what was measured of earlier ones: faster
ones that lose less, those that keep the bound before those that do not. It is asked and told, and keeps no
file: asked for the same by the same seed, and told what the rows say, it proposes the same again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from worker.config.span import Span
from worker.measure.adaptive.decisions import Goal
from worker.search.configuration import BASELINE, Configuration
from worker.search.plan import Plan
from worker.search.space import Axis, Entry, Point

if TYPE_CHECKING:
    from optuna.trial import Trial

Figures = tuple[float, float]
"""Speed-up and relative loss."""

# as many as are measured beside one baseline
GENERATION = 8
# asked for in vain, for each that is new, before there seems to be nothing new
_IN_VAIN = 20
_LABEL = "label"
# Digits of a number: a label is to tell apart what differs.
_DIGITS = 4


class Proposals:
    """Configurations, some at a time, for a plan that names none.

    Args:
        plan: to which they are added; it says how many.
        goal: what is to be found.
        seed: of all that is drawn at random.
    """

    def __init__(self, plan: Plan, goal: Goal, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._failed = optuna.trial.TrialState.FAIL
        self._plan = plan
        self._goal = goal
        # a seed of numpy's has 32 bits
        with warnings.catch_warnings():
            # Each parameter by itself, it comes back to what it knows already.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=seed % 2**32, multivariate=True, group=True, constant_liar=True
            )
        self._study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        self._known: dict[str, Figures | None] = {BASELINE.label: (1.0, 0.0)}
        self._waiting: list[Trial] = []
        self._count = 0

    def next(self) -> list[Configuration]:
        """Return some that are not in the plan yet, and add them; none where there is nothing new."""
        most = min(GENERATION, self._plan.proposals - self._count)
        new: list[Configuration] = []
        for _ in range(_IN_VAIN * most):
            if len(new) == most:
                break
            before = len(self._plan.configurations)
            trial = self._study.ask()
            found = self._plan.propose(self._point(trial))
            if found is None:
                self._study.tell(trial, state=self._failed)
                continue
            trial.set_user_attr(_LABEL, found.label)
            if len(self._plan.configurations) > before:
                new.append(found)
            if found.label in self._known:
                self._tell(trial)
            else:
                self._waiting.append(trial)
        self._count += len(new)
        return new

    def tell(self, figures: Mapping[str, Figures | None]) -> None:
        """Take in what was measured of configurations, by label; None where one failed."""
        self._known |= figures
        for trial in self._waiting:
            self._tell(trial)
        self._waiting.clear()

    def _tell(self, trial: Trial) -> None:
        figures = self._known.get(trial.user_attrs[_LABEL])
        # Optuna would make a failure of a figure that is not finite, and say so in its log alone
        if figures is None or not all(map(math.isfinite, figures)):
            self._study.tell(trial, state=self._failed)
            return
        speedup, loss = figures
        least = self._goal.target_speedup or 1.0
        trial.set_constraint("loss", loss - self._goal.max_loss)
        trial.set_constraint("speedup", least - speedup)
        # a gain of quality may be chance
        self._study.tell(trial, [speedup, max(0.0, loss)])

    def _point(self, trial: Trial) -> Point:
        entries = self._plan.entries
        number = trial.suggest_categorical("entry", list(range(len(entries))))
        entry: Entry = entries[number]
        return entry.at(_values(trial, number, entry.axes))


def _values(trial: Trial, number: int, axes: Sequence[Axis]) -> list[Any]:
    """Return a value for each axis of an entry."""
    return [_value(trial, f"{number}.{axis.accelerator}.{axis.key}", axis.values) for axis in axes]


def _value(trial: Trial, name: str, values: Sequence[Any] | Span) -> Any:
    if not isinstance(values, Span):
        # in the order in which they are named, which mostly is theirs
        return values[trial.suggest_int(name, 0, len(values) - 1)]
    if values.is_whole:
        return trial.suggest_int(name, int(values.low), int(values.high))
    drawn = float(f"{trial.suggest_float(name, values.low, values.high):.{_DIGITS}g}")
    return min(max(drawn, values.low), values.high)
