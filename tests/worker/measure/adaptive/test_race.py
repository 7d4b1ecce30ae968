"""What a race asks for, drops and finds, told the figures of made-up grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from worker.measure.adaptive.decisions import Ask, Goal
from worker.measure.adaptive.frontier import frontier, hypervolume
from worker.measure.adaptive.race import Race
from worker.measure.adaptive.sequential import loss_interval

PROMPTS = 512


@dataclass(frozen=True)
class Grid:
    """A grid with all its scores."""

    speedups: dict[str, float]
    baseline: np.ndarray
    scores: dict[str, np.ndarray]

    @property
    def losses(self) -> dict[str, float]:
        mean = self.baseline.mean()
        return {name: 1 - float(scores.mean() / mean) for name, scores in self.scores.items()}

    def answer(self, race: Race, ask: Ask) -> None:
        if ask.what == "speed":
            told = {name: self.speedups[name] for name in ask.names}
            race.tell_speed(told, images=len(ask.names) + 1)
            return
        part = slice(ask.first, ask.first + ask.count)
        race.tell_scores(
            {name: (self.baseline[part], self.scores[name][part]) for name in ask.names},
            images=ask.count * (len(ask.names) + 1),
        )

    def run(self, goal: Goal) -> Race:
        return self.go_on(Race(list(self.speedups), goal, PROMPTS))

    def go_on(self, race: Race) -> Race:
        while (ask := race.ask()) is not None:
            self.answer(race, ask)
        return race


def make(seed: int, speedups: Sequence[float], losses: Sequence[float], scatter=0.02) -> Grid:
    generator = np.random.default_rng(seed)
    baseline = 90 + generator.normal(0, 3, PROMPTS)
    scores = [baseline * (1 - generator.normal(loss, scatter, PROMPTS)) for loss in losses]
    names = [f"c{number}" for number in range(len(speedups))]
    return Grid(
        dict(zip(names, speedups, strict=True)), baseline, dict(zip(names, scores, strict=True))
    )


def large(seed: int) -> Grid:
    """A grid of 160 in which a quarter is no faster than the baseline and the fastest lose most."""
    generator = np.random.default_rng(seed)
    strength = generator.uniform(0, 1, 160)
    speedups = np.where(generator.random(160) < 0.25, 0.95, 1.05 + 2.5 * strength)
    losses = 0.12 * np.maximum(0, strength - 0.4) ** 2 * generator.lognormal(0, 0.5, 160)
    return make(seed, list(speedups), list(losses))


@pytest.mark.parametrize("seed", range(3))
def test_the_frontier_costs_a_part_of_the_grid_and_dominates_nearly_all_of_it(seed):
    grid = large(seed)
    race = grid.run(Goal("frontier", 0.05))
    points = {name: (grid.speedups[name], loss) for name, loss in grid.losses.items()}
    found = hypervolume([points[name] for name in race.found().frontier], 0.05)
    assert found >= 0.98 * hypervolume(points.values(), 0.05)
    assert race.images <= 0.2 * PROMPTS * len(points)


@pytest.mark.parametrize("max_loss", [0.005, 0.02, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_the_fastest_is_found_with_a_tenth_of_the_images(seed, max_loss):
    grid = large(seed)
    race = grid.run(Goal("fastest", max_loss))
    allowed = [name for name, loss in grid.losses.items() if loss <= max_loss]
    best = max(grid.speedups[name] for name in allowed)
    assert grid.speedups[race.found().chosen] >= 0.98 * best
    assert race.images <= 0.12 * PROMPTS * len(grid.speedups)


def test_a_target_ends_the_search_at_the_first_that_meets_it():
    grid = large(0)
    race = grid.run(Goal("target", 0.02, target_speedup=1.8))
    sure = race.found().sure
    assert grid.speedups[sure] >= 1.8 * 0.98
    assert grid.losses[sure] <= 0.02
    assert race.images <= 0.01 * PROMPTS * len(grid.speedups)
    assert sure in race.stopped


def test_a_target_that_nothing_reaches_is_said_to_be_out_of_reach():
    race = large(0).run(Goal("target", 0.02, target_speedup=9.0))
    assert race.stopped == "found nothing; looked for one that is 9× as fast within a loss of 2%"
    assert {item.look for item in race.decisions} == {0}


def test_only_the_baseline_is_left_where_nothing_is_faster():
    race = make(0, [0.9, 1.01], [0.0, 0.0]).run(Goal("fastest", 0.01))
    assert race.found().chosen is None
    assert race.dropped == ["c0", "c1"]


def test_what_failed_is_dropped_and_the_others_go_on():
    grid = make(0, [2.0, 1.5, 1.8], [0.0, 0.0, 0.0])
    race = Race(list(grid.speedups), Goal("fastest", 0.02), PROMPTS)
    race.ask()
    race.tell_speed({"c0": 2.0, "c1": 1.5, "c2": "out of memory"}, images=4)
    ask = race.ask()
    assert "c0" in ask.names and "c2" not in ask.names
    race.tell_scores(dict.fromkeys(ask.names, "not numbers"), images=16)
    assert {item.why for item in race.decisions if item.what == "dropped"} == {
        "it failed: out of memory",
        "it failed: not numbers",
    }


def test_told_the_same_it_decides_the_same():
    """So a search that was interrupted goes on behind the rows that are there."""
    grid = large(1)
    goal = Goal("frontier", 0.05)
    whole = grid.run(goal)
    again = grid.run(goal)
    assert again.decisions == whole.decisions
    assert again.found() == whole.found()


def test_one_that_is_stopped_says_what_it_would_do_next():
    grid = large(0)
    race = Race(list(grid.speedups), Goal("fastest", 0.01), PROMPTS)
    grid.answer(race, race.ask())
    race.stop("the budget is spent")
    assert race.ask() is None
    assert race.would_ask().what == "scores"
    assert race.decisions[-1].why == "the budget is spent"


@pytest.mark.parametrize(
    ("goal", "why"),
    [
        (Goal("fastest", 0.02), "more than 2%"),
        (Goal("frontier", 0.02), "can move the frontier by at most 0.3%"),
    ],
)
def test_the_log_tells_of_each_that_was_dropped_when_and_why(goal, why):
    race = large(0).run(goal)
    dropped = [item for item in race.decisions if item.what == "dropped"]
    assert set(race.dropped) <= {item.name for item in dropped}
    assert any("not told to be faster" in item.why and item.look == 0 for item in dropped)
    assert any(why in item.why and item.look > 0 for item in dropped)
    images = [item.images for item in race.decisions]
    assert images == sorted(images)
    assert images[-1] == race.images


def test_what_is_confirmed_violates_the_bound_in_no_more_than_its_share_of_runs():
    """The hardest case: dozens that lose a little more than allowed, one of which looks good enough."""
    runs, bound, error = 200, 0.01, 0.05
    violated = 0
    for seed in range(runs):
        grid = make(seed, [1.5 + 0.02 * n for n in range(30)], [1.05 * bound] * 30)
        sure = grid.run(Goal("fastest", bound)).found().sure
        if sure is None:
            continue
        fresh = np.random.default_rng(10_000 + seed)
        baseline = 90 + fresh.normal(0, 3, 128)
        scores = baseline * (1 - fresh.normal(1.05 * bound, 0.02, 128))
        violated += loss_interval(baseline, scores, error).high <= bound
    most = error / 2
    assert violated / runs <= most + 3 * math.sqrt(most * (1 - most) / runs)


def test_a_gain_of_quality_lets_no_slower_one_stand():
    points = {"slow": (1.2, -0.01), "fast": (2.0, 0.0), "wild": (3.0, 0.2)}
    assert frontier(points, 0.05) == ["fast"]
    assert hypervolume(points.values(), 0.05) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("goal", "stopped", "following"),
    [
        (Goal("fastest", 0.02), "no time", "the speed of c1"),
        (Goal("frontier", 0.02), "no time", "the speed of c1"),
        (Goal("target", 0.02, 1.5), "found one that is 1.5× as fast within a loss of 2%: c0", None),
    ],
)
def test_it_goes_on_without_those_that_there_is_no_time_for(goal, stopped, following):
    grid = make(0, [2.0, 3.0], [0.0, 0.0])
    race = Race(list(grid.speedups), goal, PROMPTS)
    assert race.ask() is not None
    race.tell_speed({"c0": 2.0}, images=10)
    race.leave(["c1"], "no time")
    grid.go_on(race)
    assert race.stopped == stopped
    assert race.found().best == "c0"
    assert race.dropped == ["c1"]
    assert [item.why for item in race.decisions if item.what == "dropped"] == [
        "c1 is not measured: no time"
    ]
    wanted = race.would_ask()
    assert (None if wanted is None else wanted.in_words()) == following


def test_it_says_which_faster_ones_are_open_where_the_fastest_sure_one_is_found():
    # c0 loses what is allowed: no number of prompts tells on which side it is
    grid = make(0, [3.0, 2.0, 1.5], [0.02, 0.0, 0.0])
    race = grid.run(Goal("fastest", 0.02))
    assert race.found().sure == "c1"
    assert race.stopped == (
        "found the fastest within a loss of 2%: c1; faster, and perhaps within it after all 512 prompts: c0"
    )


def test_of_a_baseline_that_scores_nothing_no_share_is_lost():
    race = Race(["c0"], Goal("fastest", 0.02), 16)
    while (ask := race.ask()) is not None:
        if ask.what == "speed":
            race.tell_speed({"c0": 2.0}, images=10)
        else:
            race.tell_scores({"c0": ([-1.0, 1.0] * (ask.count // 2), [1.0] * ask.count)}, 10)
    assert race.found().best is None
    assert (
        race.stopped == "the baseline's scores have a mean of zero, of which no share can be lost"
    )
