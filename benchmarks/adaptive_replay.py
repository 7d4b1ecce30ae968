"""What an adaptive search finds, and with how many images, replayed on recorded grids.

    python benchmarks/adaptive_replay.py --write docs/data/adaptive.md

Each grid of benchmarks/grid-recordings (`record_grid.py` makes them) is searched by the race of
worker/measure/adaptive with --seeds orders of its prompts: for the frontier up to a loss of 5 %, and for
the fastest within 0.5, 1, 2 and 5 %. What all the grid's prompts say is the truth. Images are counted as
the worker spends them in batches of four: untimed and timed rounds, checks, the baseline beside each block
of eight, and the confirmation, of which a recording has no prompts left to tell.

The same race has some of the configurations proposed to it by Optuna (--proposals), as where there are too
many to try each, by the entries of `record_grid.py` and the first looks; for the frontier alone.

Beside it, each with a tenth of the grid's images: random search, successive halving, and Optuna's
samplers (the extra `benchmarks`), which see each configuration on all prompts. Speed-ups are told with noise
(--speed-noise): 0.3 % is what the device's own time has, 1 % more than that. Exit code 1: with the first
noise the race spends more than a tenth of the images on the frontier, or finds less than it should.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import record_grid

from worker.measure.adaptive.decisions import Ask, Goal
from worker.measure.adaptive.frontier import frontier, hypervolume
from worker.measure.adaptive.proposing import Proposals
from worker.measure.adaptive.race import Race
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.search.configuration import Configuration
from worker.search.looks import FIRST_LOOK
from worker.search.plan import Plan, make_plan
from worker.search.section import Search

RECORDINGS = Path(__file__).resolve().parent / "grid-recordings"
MAX_LOSS = 0.05
BOUNDS = (0.005, 0.01, 0.02, 0.05)
# a first look in batches of four: one untimed call and two timed ones, and the check of integrity
QUICK, CHECK, BLOCK = 12, 8, 8
# as recorded
STEPS = 20
# what successive halving stops at: enough for a frontier
SURVIVORS = 8
DEMANDED_SHARE, DEMANDED_VOLUME, DEMANDED_RUNS, NEARLY = 0.10, 0.99, 0.95, 0.98

Array = np.ndarray


@dataclass(frozen=True)
class Grid:
    """A recorded grid's candidates and its baseline."""

    name: str
    labels: list[str]
    parameters: list[dict[str, float]]
    """Of each, as `accelerator.parameter`."""
    speedups: Array
    """Shape [candidates]."""
    scores: Array
    """Shape [candidates, prompts]."""
    baseline: Array
    """Shape [prompts]."""
    numbers: dict[str, int]
    """Of each by its accelerators with their parameters, as JSON."""

    @classmethod
    def read(cls, path: Path) -> Grid:
        """Read the recording of a pipe that is named as the file is."""
        read = record_grid.read(path)
        speedups = read.speedups
        kept = [
            number
            for number, item in enumerate(read.configurations)
            if item["role"] == "candidate"
            and np.isfinite(speedups[number])
            and np.isfinite(read.scores[number]).all()
        ]
        told = [read.configurations[number] for number in kept]
        return cls(
            path.stem,
            [item["label"] for item in told],
            [flat(item["configuration"]["accelerators"]) for item in told],
            speedups[kept],
            read.scores[kept].astype(float),
            read.scores[0].astype(float),
            {
                json.dumps(item["configuration"]["accelerators"], sort_keys=True): number
                for number, item in enumerate(told)
            },
        )

    @property
    def images(self) -> int:
        """That all of it costs, each configuration on all prompts once."""
        return (len(self.labels) + 1) * len(self.baseline)

    def losses(self, prompts: Array | slice = slice(None)) -> Array:
        """Return the relative loss of each candidate on some prompts."""
        mean = self.baseline[prompts].mean()
        return (mean - self.scores[:, prompts].mean(axis=1)) / abs(mean)

    def volume(self, numbers: Sequence[int]) -> float:
        """Return the share of the grid's hypervolume that some candidates have."""
        points = list(zip(self.speedups, self.losses(), strict=True))
        return hypervolume([points[number] for number in numbers], MAX_LOSS) / hypervolume(
            points, MAX_LOSS
        )

    def is_best(self, number: int | None, bound: float) -> bool:
        """Say whether a candidate keeps a bound and is nearly as fast as the fastest that does."""
        losses = self.losses()
        best = max([1.0, *self.speedups[losses <= bound]])
        if number is None:
            return best * NEARLY <= 1
        return bool(losses[number] <= bound and self.speedups[number] >= NEARLY * best)


def flat(accelerators: dict[str, dict[str, object]]) -> dict[str, float]:
    return {
        f"{name}.{key}": float(value)
        for name, values in accelerators.items()
        for key, value in values.items()
        if isinstance(value, (int, float))
    }


@dataclass(frozen=True)
class Tried:
    """What one search of one grid came to."""

    images: int
    found: Sequence[int]
    """Candidates that it calls the frontier, or the one that it chose."""


def race(grid: Grid, goal: Goal, seed: int, noise: float) -> Tried:
    """Replay the adaptive search."""
    replayed = Replayed(grid, goal, seed, noise)
    replayed.race.add(grid.labels)
    replayed.go_on()
    return replayed.tried()


def proposed(grid: Grid, goal: Goal, seed: int, noise: float, count: int) -> Tried:
    """Replay the adaptive search that has so many configurations proposed to it."""
    replayed = Replayed(grid, goal, seed, noise)
    proposals = Proposals(plan_of(grid, count), goal, seed)
    while new := proposals.next():
        # what could not be recorded fails
        numbers = {item.label: replayed.number_of(item) for item in new}
        replayed.race.add([label for label, number in numbers.items() if number is not None])
        replayed.answer(replayed.race.ask())
        proposals.tell({label: replayed.first_look(number) for label, number in numbers.items()})
    replayed.go_on()
    return replayed.tried()


def plan_of(grid: Grid, count: int) -> Plan:
    """Return the plan of the search that was recorded, with so many proposals."""
    section = record_grid.grid(grid.name, tiny=False)
    section |= {"strategy": "adaptive", "proposals": count}
    task = Task(find_pipe(grid.name), find_sched("DDIM"), STEPS)
    return make_plan(task, Search.model_validate(section))


class Replayed:
    """A race that is told what was recorded.

    Args:
        grid: the recording.
        goal: what is to be found.
        seed: of the order of its prompts, and of the noise.
        noise: of a speed-up, as a share.
    """

    def __init__(self, grid: Grid, goal: Goal, seed: int, noise: float) -> None:
        generator = np.random.default_rng(seed)
        self._grid = grid
        self._order = generator.permutation(len(grid.baseline))
        self._told = grid.speedups * np.exp(generator.normal(0, noise, len(grid.labels)))
        self._numbers = {label: number for number, label in enumerate(grid.labels)}
        self.race = Race([], goal, len(self._order))

    def number_of(self, configuration: Configuration) -> int | None:
        """Return the number of a candidate, None where it was not recorded."""
        key = json.dumps(configuration.as_json()["accelerators"], sort_keys=True)
        number = self._grid.numbers.get(key)
        if number is not None:
            self._numbers[configuration.label] = number
        return number

    def first_look(self, number: int | None) -> tuple[float, float] | None:
        """Return what the first look at a candidate tells: speed-up and loss."""
        if number is None:
            return None
        return float(self._told[number]), float(self._grid.losses(self._order[:FIRST_LOOK])[number])

    def go_on(self) -> None:
        """Tell the race all that it asks for."""
        while (ask := self.race.ask()) is not None:
            self.answer(ask)

    def answer(self, ask: Ask | None) -> None:
        """Tell the race what it asks for."""
        if ask is None:
            return
        grid, wanted = self._grid, [self._numbers[name] for name in ask.names]
        blocks = math.ceil(len(wanted) / BLOCK)
        if ask.what == "speed":
            speeds = {name: float(self._told[self._numbers[name]]) for name in ask.names}
            self.race.tell_speed(speeds, QUICK * (len(wanted) + blocks) + CHECK * blocks)
            return
        prompts = self._order[ask.first : ask.first + ask.count]
        # the first were made when speeds were taken
        made = 0 if ask.first == 0 else ask.count * (len(wanted) + blocks) + CHECK * blocks
        scores = {
            name: (grid.baseline[prompts], grid.scores[self._numbers[name]][prompts])
            for name in ask.names
        }
        self.race.tell_scores(scores, made)

    def tried(self) -> Tried:
        """Return what the search came to."""
        found = self.race.found()
        is_frontier = self.race.goal.wants == "frontier"
        names = found.frontier if is_frontier else [found.chosen]
        chosen = [self._numbers[name] for name in names if name is not None]
        # the chosen one and the baseline, on a quarter as many prompts again
        return Tried(self.race.images + 2 * (len(self._order) // 4), chosen)


def race_with(grid: Grid, noise: float, goal: Goal, seed: int) -> Tried:
    return race(grid, goal, seed, noise)


Estimates = dict[int, float]
"""The loss of candidates that a search saw, as it saw it."""


def random_search(grid: Grid, budget: int, seed: int, _told: Array) -> Estimates:
    """Return what configurations drawn at random lose on all prompts."""
    many = max(1, budget // len(grid.baseline) - 1)
    drawn = np.random.default_rng(seed).permutation(len(grid.labels))[:many]
    losses = grid.losses()
    return {int(number): float(losses[number]) for number in drawn}


def successive_halving(grid: Grid, budget: int, seed: int, told: Array) -> Estimates:
    """Halve the candidates by layers of their frontier, and double the prompts, at equal cost a rung."""
    order = np.random.default_rng(seed).permutation(len(grid.baseline))
    left = list(range(len(grid.labels)))
    rungs = int(math.log2(len(left) / SURVIVORS))
    seen = 0
    losses = grid.losses()
    for _ in range(rungs):
        more = budget // rungs // (len(left) + 1)
        seen = min(len(order), seen + max(1, more))
        losses = grid.losses(order[:seen])
        left = best_layers(left, told, losses, math.ceil(len(left) / 2))
        if seen == len(order):
            break
    return {number: float(losses[number]) for number in left}


def best_layers(left: Sequence[int], speeds: Array, losses: Array, count: int) -> list[int]:
    """Return as many as are wanted, one frontier after the other."""
    kept: list[int] = []
    rest = set(left)
    while len(kept) < count and rest:
        points = {str(item): (max(1.0001, speeds[item]), losses[item]) for item in rest}
        layer = [int(name) for name in frontier(points, math.inf)]
        kept += layer
        rest -= set(layer)
    return kept[:count]


def optuna_search(sampler: str) -> Callable[[Grid, int, int, Array], Estimates]:
    """Return a search that one of Optuna's samplers proposes for, by the methods' parameters."""

    def search(grid: Grid, budget: int, seed: int, told: Array) -> Estimates:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            directions=["maximize", "minimize"],
            sampler=getattr(optuna.samplers, sampler)(seed=seed),
        )
        names = sorted({name for item in grid.parameters for name in item})
        values = {
            name: [-1.0, *sorted({item[name] for item in grid.parameters if name in item})]
            for name in names
        }
        losses = grid.losses()
        many = max(1, budget // len(grid.baseline) - 1)
        seen: Estimates = {}
        # what was seen before costs nothing, but no more proposals than can ever be needed
        for _ in range(20 * many):
            if len(seen) >= many:
                break
            trial = study.ask()
            asked = {name: trial.suggest_categorical(name, values[name]) for name in names}
            number = nearest(grid, asked)
            seen[number] = float(losses[number])
            study.tell(trial, [float(told[number]), seen[number]])
        return seen

    return search


def nearest(grid: Grid, asked: dict[str, float]) -> int:
    """Return the recorded candidate that has most of the asked parameters."""
    differ = [
        sum(item.get(name, -1.0) != value for name, value in asked.items())
        for item in grid.parameters
    ]
    return int(np.argmin(differ))


OTHERS = {
    "random search": random_search,
    "successive halving": successive_halving,
    "Optuna, TPE": optuna_search("TPESampler"),
    "Optuna, NSGA-II": optuna_search("NSGAIISampler"),
}


@dataclass(frozen=True)
class Line:
    """A line of the table: medians over seeds."""

    method: str
    share: float
    """Of the grid's images, for the frontier."""
    volume: float
    least_volume: float
    reached: dict[float, float]
    """Share of runs that find the best within each bound, where one was searched for."""
    shares: dict[float, float]
    """Of the grid's images, to find it."""

    @property
    def is_enough(self) -> bool:
        enough = self.volume >= DEMANDED_VOLUME and min(self.reached.values()) >= DEMANDED_RUNS
        return self.share <= DEMANDED_SHARE and enough

    def __str__(self) -> str:
        cells = [
            f"{100 * self.share:.1f} %",
            f"{100 * self.volume:.1f} % ({100 * self.least_volume:.1f} %)",
            *(
                f"{100 * self.reached[bound]:.0f} % ({100 * self.shares[bound]:.1f} %)"
                if bound in self.reached
                else "–"
                for bound in BOUNDS
            ),
        ]
        return f"| {self.method} | {' | '.join(cells)} |"


def line_of_race(name: str, search: Callable[[Goal, int], Tried], grid: Grid, seeds: int) -> Line:
    whole = [search(Goal("frontier", MAX_LOSS), seed) for seed in range(seeds)]
    bounded = {
        bound: [search(Goal("fastest", bound), seed) for seed in range(seeds)] for bound in BOUNDS
    }
    volumes = [grid.volume(tried.found) for tried in whole]
    return Line(
        name,
        float(np.median([tried.images for tried in whole])) / grid.images,
        float(np.median(volumes)),
        min(volumes),
        {
            bound: float(
                np.mean([grid.is_best(next(iter(run.found), None), bound) for run in runs])
            )
            for bound, runs in bounded.items()
        },
        {
            bound: float(np.median([run.images for run in runs])) / grid.images
            for bound, runs in bounded.items()
        },
    )


def line_of_proposals(grid: Grid, seeds: int, noise: float, count: int) -> Line:
    goal = Goal("frontier", MAX_LOSS)
    runs = [proposed(grid, goal, seed, noise, count) for seed in range(seeds)]
    volumes = [grid.volume(tried.found) for tried in runs]
    share = float(np.median([tried.images for tried in runs])) / grid.images
    return Line(
        f"adaptive, {count} proposed", share, float(np.median(volumes)), min(volumes), {}, {}
    )


def line_of(
    name: str,
    search: Callable[[Grid, int, int, Array], Estimates],
    grid: Grid,
    seeds: int,
    noise: float,
) -> Line:
    budget = int(DEMANDED_SHARE * grid.images)
    volumes, hits = [], dict.fromkeys(BOUNDS, 0)
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        told = grid.speedups * np.exp(generator.normal(0, noise, len(grid.labels)))
        seen = search(grid, budget, seed, told)
        points = {str(number): (told[number], loss) for number, loss in seen.items()}
        volumes.append(grid.volume([int(item) for item in frontier(points, MAX_LOSS)]))
        for bound in BOUNDS:
            allowed = [number for number, loss in seen.items() if loss <= bound]
            best = max(allowed, key=lambda number: told[number], default=None)
            hits[bound] += grid.is_best(best, bound)
    return Line(
        name,
        DEMANDED_SHARE,
        float(np.median(volumes)),
        min(volumes),
        {bound: count / seeds for bound, count in hits.items()},
        dict.fromkeys(BOUNDS, DEMANDED_SHARE),
    )


def page(found: dict[str, list[Line]], grids: Sequence[Grid], arguments: argparse.Namespace) -> str:
    return "\n".join(_page(found, grids, arguments)) + "\n"


def _page(
    found: dict[str, list[Line]], grids: Sequence[Grid], arguments: argparse.Namespace
) -> Iterator[str]:
    yield "# Adaptive search on recorded grids"
    yield ""
    yield (
        f"Written by `python benchmarks/adaptive_replay.py`: {arguments.seeds} orders of the prompts, "
        f"speed-ups told with noise (the others' with {100 * arguments.speed_noise[0]:g} %). Images are "
        "shares of the grid's; hypervolume is that of the grid's up to a loss of 5 %, median (least); "
        "the other columns are in how many runs the best within a bound was found, within 2 % of "
        "its speed (median share of images)."
    )
    for grid in grids:
        count, prompts = grid.scores.shape
        yield ""
        yield f"## {grid.name}: {count} candidates, {prompts} prompts"
        yield ""
        yield "| search | images | hypervolume | 0.5 % | 1 % | 2 % | 5 % |"
        yield "|---|---|---|---|---|---|---|"
        yield from map(str, found[grid.name])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--recordings", type=Path, default=RECORDINGS, help="folder of the recorded grids")
    add("--seeds", type=int, default=20, help="orders of the prompts (default 20)")
    add(
        "--speed-noise",
        type=float,
        nargs="+",
        default=[0.003, 0.01],
        help="of a speed-up, as a share",
    )
    add(
        "--proposals",
        type=int,
        nargs="*",
        default=[32, 64, 96],
        help="so many of the grid's configurations are proposed (Optuna) and raced",
    )
    add("--alone", action="store_true", help="without other searches beside it")
    add("--write", type=Path, help="write what was found to this page")
    arguments = parser.parse_args()
    files = sorted(arguments.recordings.glob("*.npz"))
    if not files:
        print(f"{arguments.recordings} holds no recorded grid: record_grid.py makes them")
        return 2
    grids = [Grid.read(file) for file in files]
    found = {}
    for grid in grids:
        lines = [
            line_of_race(
                f"adaptive, noise {100 * noise:g} %",
                partial(race_with, grid, noise),
                grid,
                arguments.seeds,
            )
            for noise in arguments.speed_noise
        ]
        lines += [
            line_of_proposals(grid, arguments.seeds, arguments.speed_noise[0], count)
            for count in arguments.proposals
            if grid.name in record_grid.PIPES
        ]
        if not arguments.alone:
            lines += [
                line_of(name, search, grid, arguments.seeds, arguments.speed_noise[0])
                for name, search in OTHERS.items()
            ]
        found[grid.name] = lines
    text = page(found, grids, arguments)
    print(text, end="")
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")
    return 0 if all(lines[0].is_enough for lines in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
