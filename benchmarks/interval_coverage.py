"""How often the interval of a speed-up holds the truth, also where timing stopped because it was narrow.

    python benchmarks/interval_coverage.py

Timings are simulated: noise, calls that come late, drift, neighbours, as on real machines; the true
speed-up is known. The first table: a fixed number of rounds; rounds until a precision is reached by
the project's rule (worker/results/stopping.py); and by a naive rule that looks at the plain interval
after every round and stops when it is narrow. Coverage should be 95 % and more. The second: how many
rounds other estimators need for the same standard error. The third: how often a candidate is called
faster or slower than the baseline, with the null arm as a judge and by its own interval alone. About
a minute on one core.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from worker.results.null_arm import NullArm  # noqa: E402  (the folder above must come first)
from worker.results.row import MEASURED, Figures, Measurement, metric  # noqa: E402
from worker.results.statistics import Estimate, speedup  # noqa: E402
from worker.results.stopping import StoppingRule  # noqa: E402

Array = NDArray[np.float64]
Random = np.random.Generator
Pair = tuple[Array, Array]

TRUE_SPEEDUP = 1.5
LEAST = 10  # rounds
MOST = 400  # rounds, where a precision is not reached before
PRECISIONS = (0.01, 0.02, 0.05)
_ARMS = 5  # calls of a round, of which two are looked at


def noise(share: float) -> Callable[[Random, int], Pair]:
    """Return a model of log-normal noise, each call by itself."""
    return lambda random, rounds: _arms(random.normal(0, share, (2, rounds)))


def late(often: float) -> Callable[[Random, int], Pair]:
    """Return a model in which a share of calls takes 1.1 to 2 times as long."""

    def draw(random: Random, rounds: int) -> Pair:
        late = random.random((2, rounds)) < often
        factor = random.uniform(1.1, 2, (2, rounds))
        return _arms(random.normal(0, 0.02, (2, rounds)) + late * np.log(factor))

    return draw


def drift(random: Random, rounds: int) -> Pair:
    """Return times that a slow AR(1) process of 5 % lies over."""
    shared = np.empty(rounds)
    level = random.normal(0, 0.05)
    for at, step in enumerate(random.normal(0, 0.05 * math.sqrt(1 - 0.95**2), rounds)):
        level = shared[at] = 0.95 * level + step
    return _arms(random.normal(0, 0.02, (2, rounds)) + shared)


def ramp(random: Random, rounds: int) -> Pair:
    """Return times that grow by 10 % in a hundred rounds."""
    return _arms(random.normal(0, 0.02, (2, rounds)) + 0.001 * np.arange(rounds))


def two_modes(apart: float, calls: float) -> Callable[[Random, int], Pair]:
    """Return a model of a neighbour that works half of the time, also from within a round on.

    Args:
        apart: by what factor its work slows a call down.
        calls: how many calls a stretch of it lasts on average.
    """

    def draw(random: Random, rounds: int) -> Pair:
        turns = np.cumsum(random.random((rounds, _ARMS)) < 1 / calls) + random.integers(2)
        busy = turns.reshape(rounds, _ARMS) % 2
        order = random.permuted(np.tile(np.arange(_ARMS), (rounds, 1)), axis=1)[:, :2]
        own = np.take_along_axis(busy, order, axis=1).T
        return _arms(random.normal(0, 0.02, (2, rounds)) + math.log(apart) * own)

    return draw


def _arms(logarithms: Array) -> Pair:
    baseline, candidate = np.exp(logarithms)
    return baseline, candidate / TRUE_SPEEDUP


MODELS: dict[str, Callable[[Random, int], Pair]] = {
    "noise of 1 %": noise(0.01),
    "noise of 3 %": noise(0.03),
    "noise of 10 %": noise(0.1),
    "5 % of calls late": late(0.05),
    "20 % of calls late": late(0.2),
    "drift": drift,
    "ramp": ramp,
    "neighbour, stretches of 500 calls": two_modes(1.25, 500),
    "neighbour, stretches of 20 calls": two_modes(1.25, 20),
    "host of two speeds, 10 calls": two_modes(1.6, 10),
}


@dataclass(frozen=True)
class Rule:
    """When timing stops, and the interval that is then believed."""

    name: str
    precision: float | None
    """None for LEAST rounds."""
    naive: bool = False
    """Whether the plain interval is looked at after every round."""

    def stop(self, baseline: Array, candidate: Array) -> tuple[Estimate, int]:
        """Return what is found, and after how many rounds."""
        if self.precision is None:
            return speedup(baseline[:LEAST], candidate[:LEAST]), LEAST
        looks = StoppingRule(self.precision, LEAST)
        for rounds in range(LEAST, baseline.size + 1):
            last = rounds == baseline.size
            if not (last or self.naive or looks.is_look(rounds)):
                continue
            found = speedup(
                baseline[:rounds], candidate[:rounds], stopped_when_narrow=not self.naive
            )
            half = found.relative_half_width
            if last or (half is not None and half <= self.precision):
                return found, rounds
        raise ValueError("fewer rounds than the least")


RULES = [
    Rule(f"{LEAST} rounds", None),
    *(Rule(f"{100 * share:g} %", share) for share in PRECISIONS),
    *(Rule(f"{100 * share:g} %, naive", share, naive=True) for share in PRECISIONS),
]


@dataclass(frozen=True)
class Coverage:
    """How a rule did under a model."""

    share: float
    """Of the simulations in which the interval held the truth."""
    rounds: float
    """On average."""
    half_width: float
    """Relative, the median."""


def coverage(model: Callable[[Random, int], Pair], rule: Rule, times: int, most: int) -> Coverage:
    """Simulate a rule under a model so many times, each of at most so many rounds."""
    random = np.random.default_rng(0)
    hits, used, widths = 0, 0, []
    for _ in range(times):
        found, rounds = rule.stop(*model(random, most))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= TRUE_SPEEDUP <= found.high
        used += rounds
        widths.append(found.relative_half_width)
    return Coverage(hits / times, used / times, float(np.median(widths)))


def estimators(baseline: Array, candidate: Array) -> Iterator[tuple[str, float]]:
    """Yield what others would make of the same times."""
    half = (baseline.size + 1) // 2
    yield "middle half of ratios", speedup(baseline, candidate).value
    yield "mean of ratios", float(np.exp(np.log(baseline / candidate).mean()))
    yield "medians", float(np.median(baseline) / np.median(candidate))
    yield "faster halves", float(np.sort(baseline)[:half].mean() / np.sort(candidate)[:half].mean())


def errors(model: Callable[[Random, int], Pair], times: int, rounds: int) -> dict[str, float]:
    """Return each estimator's root mean square error."""
    random = np.random.default_rng(0)
    squares: dict[str, float] = {}
    for _ in range(times):
        for name, value in estimators(*model(random, rounds)):
            squares[name] = squares.get(name, 0) + math.log(value / TRUE_SPEEDUP) ** 2
    return {name: math.sqrt(total / times) for name, total in squares.items()}


def told(rule: Rule, true: float, times: int) -> tuple[float, float]:
    """Return how often a candidate is told from the baseline: with a null arm, and without."""
    random = np.random.default_rng(0)
    counts = [0, 0]
    for _ in range(times):
        null, found = (_measured(rule, random, factor) for factor in (1.0, true))
        judges = NullArm(null, None), NullArm(None, None, "left out")
        row = Measurement(
            role="candidate",
            label="candidate",
            configuration={},
            status=MEASURED,
            metrics=[metric("speedup", found.value, "×", "higher", low=found.low, high=found.high)],
            samples=Figures(),
        )
        for place, judge in enumerate(judges):
            counts[place] += judge.speed(row) != "cannot tell"
    return counts[0] / times, counts[1] / times


def _measured(rule: Rule, random: Random, true: float) -> Estimate:
    baseline, candidate = noise(0.02)(random, MOST)
    return rule.stop(baseline, candidate * TRUE_SPEEDUP / true)[0]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--times", type=int, default=1000, help="simulations of each cell")
    times = parser.parse_args().times
    width = max(map(len, MODELS))
    print(f"coverage, mean rounds, median half-width; {times} simulations of each")
    print(" " * width, *(f"{rule.name:>18}" for rule in RULES))
    for name, model in MODELS.items():
        cells = (coverage(model, rule, times, MOST) for rule in RULES)
        shown = (f"{x.share:.1%} {x.rounds:3.0f} {x.half_width:.1%}" for x in cells)
        print(f"{name:<{width}}", *(f"{cell:>18}" for cell in shown), flush=True)
    print("\nrounds that others need for the error that the middle half of ratios has at 40")
    for name, model in MODELS.items():
        ours, *others = errors(model, times, 40).items()
        shown = (f"{other} {40 * (error / ours[1]) ** 2:4.0f}" for other, error in others)
        print(f"{name:<{width}}  ±{1.96 * ours[1]:.1%}", *shown, sep="  ", flush=True)
    print("\ntold from the baseline (noise of 2 %): with a null arm, by its own interval alone")
    for rule in (RULES[0], RULES[2]):
        for true in (1.0, 1.01, 1.03, 1.05):
            judged, alone = told(rule, true, times)
            print(f"{rule.name:<10} truly {true:.2f}×  {judged:6.1%} {alone:6.1%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
