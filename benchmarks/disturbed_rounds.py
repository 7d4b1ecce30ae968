"""How far a speed-up is off beside load, from all rounds and from those that nothing disturbed.

    python benchmarks/disturbed_rounds.py

Load comes and goes in turns and slows the calls of two arms, the one more than the other where the
one is bound by the host. Calls that it touched are taken again, and their rounds left out, by the
project's rules (worker/measure/rounds/loop.py, worker/results/disturbances.py). The true speed-up
is known. Some seconds on one core.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from worker.results.disturbances import undisturbed  # noqa: E402  (the folder above first)
from worker.results.statistics import speedup  # noqa: E402

TRUE_SPEEDUP = 2.0
SECONDS = (0.6, 0.6 / TRUE_SPEEDUP)
NOISE = 0.01
ROUNDS = 24
TRIES = 3
RUNS = 150


@dataclass
class Machine:
    """A core that another process uses now and then."""

    random: np.random.Generator
    share: float
    """Of the time that the load is there."""
    turn: float
    """Mean seconds from one change to the next."""
    slower: tuple[float, float]
    """By what factor the load slows the calls of each arm."""
    loaded: bool = field(init=False)
    left: float = field(init=False)
    """Seconds until it comes or goes."""

    def __post_init__(self) -> None:
        self.loaded = bool(self.random.random() < self.share)
        self.left = self._turn()

    def call(self, arm: int) -> tuple[float, bool]:
        """Return the seconds of a call, and whether the load took more than 1 % of them."""
        work = SECONDS[arm] * (1 + abs(self.random.normal(0, NOISE)))
        seconds = lost = 0.0
        while work > 0:
            factor = self.slower[arm] if self.loaded else 1.0
            took = min(self.left, work * factor)
            seconds += took
            lost += took - took / factor
            work -= took / factor
            self.left -= took
            if self.left <= 0:
                self.loaded = not self.loaded
                self.left = self._turn()
        return seconds, lost > 0.01 * seconds

    def _turn(self) -> float:
        share = self.share if self.loaded else 1 - self.share
        return float(self.random.exponential(2 * self.turn * share))


def rounds(machine: Machine) -> tuple[list[list[float]], set[int]]:
    """Return the seconds of each arm by round, and the rounds that stayed disturbed."""
    seconds: list[list[float]] = [[], []]
    stays = [False, False]
    disturbed = set()
    for number in range(ROUNDS):
        for arm in machine.random.permutation(2):
            tries = 1 if stays[arm] else TRIES
            for _ in range(tries):
                took, stays[arm] = machine.call(arm)
                if not stays[arm]:
                    break
            seconds[arm].append(took)
            if stays[arm]:
                disturbed.add(number)
    return seconds, disturbed


def errors(share: float, turn: float, slower: tuple[float, float]) -> tuple[float, float, float]:
    """Return the error from all rounds, from undisturbed ones, and how many those were on average."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(RUNS):
        (baseline, candidate), disturbed = rounds(Machine(random, share, turn, slower))
        kept = undisturbed(baseline, disturbed), undisturbed(candidate, disturbed)
        gains = speedup(baseline, candidate).value, speedup(*kept).value
        off = [(gain / TRUE_SPEEDUP - 1) ** 2 for gain in gains]
        found.append([*off, ROUNDS - len(disturbed)])
    every, clean, left = np.mean(found, axis=0)
    return math.sqrt(every), math.sqrt(clean), float(left)


def main() -> None:
    """Print the table."""
    print("| load | turns | slows | undisturbed rounds | error, all rounds | error, undisturbed |")
    print("|---|---|---|---|---|---|")
    for share in (0.2, 0.5, 0.8):
        for turn in (0.5, 5.0, 30.0):
            for slower in ((1.6, 1.6), (1.6, 1.2)):
                every, clean, left = errors(share, turn, slower)
                slows = " and ".join(f"{factor:g}×" for factor in slower)
                print(
                    f"| {share:.0%} | {turn:g} s | {slows} | {left:.0f} of {ROUNDS} "
                    f"| {every:.1%} | {clean:.1%} |"
                )


if __name__ == "__main__":
    main()
