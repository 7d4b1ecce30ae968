"""What a speed-up comes to beside load, from all rounds and from those that nothing disturbed.

    python benchmarks/disturbed_rounds.py

The timings are simulated, so that the true speed-up is known. Load comes and goes in turns and slows
the calls of two arms, the one more than the other where the one is bound by the host. Now and then
a call of one arm stalls, which nothing tells but its time. The project's own rules decide which
calls are timed again (worker/measure/rounds/retaking.py), which rounds are left out
(worker/results/disturbances.py) and when timing stops (worker/measure/rounds/ending.py). The table
says how far speed-ups are off, and how often their intervals hold the truth. About two minutes on
one core.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from worker.config.settings import Timing  # noqa: E402  (the folder above must come first)
from worker.measure.rounds.call import Batch  # noqa: E402
from worker.measure.rounds.ending import Ending  # noqa: E402
from worker.measure.rounds.retaking import timed  # noqa: E402
from worker.measure.samples import Samples  # noqa: E402
from worker.metrics.device import Reading  # noqa: E402
from worker.metrics.host import Disturbance, HostReading  # noqa: E402
from worker.results.statistics import speedup  # noqa: E402
from worker.search.configuration import BASELINE, Configuration  # noqa: E402

TRUE_SPEEDUP = 2.0
SECONDS = (0.6, 0.6 / TRUE_SPEEDUP)
NOISE = 0.01
# rounds where no precision is asked for; where one is, at least and at most
ROUNDS = 24
LEAST = 10
MOST = 400
# what a stalled call takes
STALL = 5.0


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
    stalls: tuple[float, float] = (0.0, 0.0)
    """Share of each arm's calls that stall, which nothing counts."""
    loaded: bool = field(init=False)
    left: float = field(init=False)
    """Seconds until it comes or goes."""

    def __post_init__(self) -> None:
        self.loaded = bool(self.random.random() < self.share)
        self.left = self._turn()

    def call(self, arm: int) -> Batch:
        """Make a call; it counts as disturbed where the load took more than 1 % of its seconds."""
        work = SECONDS[arm] * math.exp(self.random.normal(0, NOISE))
        if self.random.random() < self.stalls[arm]:
            work *= STALL
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
        disturbance = Disturbance("waited for a core") if lost > 0.01 * seconds else None
        return Batch(None, seconds, Reading(), HostReading(disturbance=disturbance), None)

    def _turn(self) -> float:
        share = self.share if self.loaded else 1 - self.share
        return float(self.random.exponential(2 * self.turn * share))


def measured(machine: Machine, precision: float | None) -> tuple[Samples, Samples]:
    """Return what the rounds of a baseline and a candidate give.

    Args:
        machine: what times them.
        precision: until which rounds go on; None for ``ROUNDS`` of them.
    """
    block = Samples(BASELINE), Samples(Configuration.fewer_steps(2))
    ending = (
        Ending(Timing(), ROUNDS)
        if precision is None
        else Ending(Timing.model_validate({"precision": precision, "at_most": "10000h"}), LEAST)
    )
    for number in range(1, MOST + 1):
        for arm in machine.random.permutation(2):
            timed(block[arm], lambda arm=arm: machine.call(arm))
        if ending.after(number, block)[0]:
            break
    return block


@dataclass(frozen=True)
class Found:
    """What simulations of a machine came to."""

    error: float
    """Relative error of the speed-up, root mean square."""
    error_of_all: float
    """The same of all rounds, disturbed or not."""
    bias: float
    """Relative error of the speed-up, mean; with its sign."""
    coverage: float
    """How often the interval held the truth."""
    rounds: float
    """On average."""
    undisturbed: float
    """Of these, on average."""


def simulate(
    share: float,
    turn: float,
    slower: tuple[float, float],
    *,
    stalls: tuple[float, float] = (0.0, 0.0),
    precision: float | None = None,
    times: int = 150,
) -> Found:
    """Simulate a machine so many times; for the arguments see ``Machine`` and ``measured``."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(times):
        machine = Machine(random, share, turn, slower, stalls)
        baseline, candidate = measured(machine, precision)
        gain = speedup(*candidate.pairs_with(baseline), stopped_when_narrow=precision is not None)
        assert gain.low is not None
        assert gain.high is not None
        of_all = speedup(baseline.seconds, candidate.seconds).value
        off, off_of_all = gain.value / TRUE_SPEEDUP - 1, of_all / TRUE_SPEEDUP - 1
        holds = gain.low <= TRUE_SPEEDUP <= gain.high
        rounds = len(baseline.seconds)
        left = rounds - len(candidate.disturbed_beside(baseline))
        found.append([off**2, off_of_all**2, off, holds, rounds, left])
    squares, squares_of_all, *others = map(float, np.mean(found, axis=0))
    return Found(math.sqrt(squares), math.sqrt(squares_of_all), *others)


def main() -> None:
    """Print the table."""
    print(
        "| load | turns | slows | stalls | asked | rounds, undisturbed | error, of all rounds |",
        end="",
    )
    print(" bias | coverage |\n|" + "---|" * 9)
    loads = [
        (share, turn, slower, (0.0, 0.0))
        for share in (0.2, 0.5, 0.8)
        for turn in (0.5, 5.0, 30.0)
        for slower in ((1.6, 1.6), (1.6, 1.2))
    ]
    stalls = [(0.0, 1.0, (1.0, 1.0), (0.0, share)) for share in (0.05, 0.2)]
    for share, turn, slower, stalled in loads + stalls:
        for precision in (None, 0.01):
            found = simulate(share, turn, slower, stalls=stalled, precision=precision, times=300)
            print(
                f"| {share:.0%} | {turn:g} s | {slower[0]:g} and {slower[1]:g}× "
                f"| {stalled[0]:.0%} and {stalled[1]:.0%} "
                f"| {ROUNDS if precision is None else f'±{precision:.1%}'} "
                f"| {found.rounds:.0f}, {found.undisturbed:.0f} "
                f"| {found.error:.1%}, {found.error_of_all:.1%} | {found.bias:+.2%} "
                f"| {found.coverage:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
