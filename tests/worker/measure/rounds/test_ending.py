"""When the rounds of a block end."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from worker.config.settings import Timing
from worker.measure.rounds import ending
from worker.measure.rounds.ending import Ending
from worker.measure.samples import Samples
from worker.metrics.host import Disturbance
from worker.search.configuration import BASELINE, Configuration

ARMS = [BASELINE, Configuration.other_seeds(), Configuration.fewer_steps(2)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a clock that stands still."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(ending, "time", clock)
    return clock


def rounds_of(
    timing: Timing, spread: float, least: int = 4, arms: int = 3, fails_at: int = 0
) -> tuple[int, list[str]]:
    """Return how many rounds there were and what was said, of arms whose times spread so much."""
    noise = random.Random(7)
    block = [Samples(configuration) for configuration in ARMS[:arms]]
    end, said = Ending(timing, least), []
    for rounds in range(1, 10_000):
        if rounds == fails_at:
            block[-1].failure = "out of memory"
        for number, samples in enumerate(block):
            if samples.failure is None:
                wide = spread if number == arms - 1 else 0.001
                samples.seconds.append(1 + noise.uniform(-wide, wide))
        is_last, words = end.after(rounds, block)
        said.append(words)
        if is_last:
            return rounds, said
    raise AssertionError("it never ends")


def timing(**section: Any) -> Timing:
    return Timing.model_validate({"precision": "2%", "at_most": "10m"} | section)


@pytest.mark.usefixtures("clock")
def test_without_a_precision_it_is_a_number() -> None:
    assert rounds_of(Timing(), 0.5) == (4, [f"round {n} of 4" for n in (1, 2, 3, 4)])


@pytest.mark.usefixtures("clock")
def test_with_one_it_is_when_the_last_arm_is_known_so_well() -> None:
    few, _ = rounds_of(timing(), 0.01)
    rounds, said = rounds_of(timing(), 0.1)
    more, _ = rounds_of(timing(precision="1%"), 0.1)
    assert 10 == few < rounds < more
    assert said[:5] == [*(f"round {n} of at least 4" for n in (1, 2, 3, 4)), "round 5"]
    widths = [float(words.split("±")[1].split("%")[0]) for words in said if "asked" in words]
    assert all(width > 2 for width in widths[:-1])
    assert widths[-1] <= 2
    assert said[-1].endswith("%, asked ±2%")


def test_or_when_the_time_is_spent(clock: SimpleNamespace) -> None:
    start = timing(at_most="1s")
    end = Ending(start, 2)
    clock.now = 0.9
    block = [Samples(item, seconds=[1.0, 1.1]) for item in ARMS]
    assert end.after(2, block) == (False, "round 2 of at least 2")
    clock.now = 1.0
    assert end.after(1, block)[0] is False, "all prompts have their turn"
    words = "round 2: fewer than 10 undisturbed rounds, asked ±2%; the time for it is spent"
    assert end.after(2, block) == (True, words)


@pytest.mark.usefixtures("clock")
def test_an_arm_that_fails_is_not_waited_for() -> None:
    rounds, said = rounds_of(timing(), 0.5, fails_at=14)
    assert 14 <= rounds < 30
    assert said[-1].endswith("asked ±2%")


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("arms", "fails_at"), [(1, 0), (2, 3)])
def test_where_nothing_is_left_to_be_known_it_is_the_least(arms: int, fails_at: int) -> None:
    assert rounds_of(timing(), 0.5, arms=arms, fails_at=fails_at)[0] == 4


def test_an_interval_that_never_comes_ends_with_the_time(clock: SimpleNamespace) -> None:
    end = Ending(timing(), 4)
    block = [Samples(item) for item in ARMS]
    for rounds in range(1, 1000):
        for samples in block:
            samples.seconds.append(0.0)
        clock.now += 1
        is_last, _ = end.after(rounds, block)
        if is_last:
            assert rounds == 600
            return
    raise AssertionError("it never ends")


@pytest.mark.usefixtures("clock")
def test_disturbed_rounds_make_nothing_known() -> None:
    """However narrow the interval is: the same load slows every call by as much."""
    block = [Samples(configuration) for configuration in ARMS]
    end = Ending(timing(), 4)
    for rounds in range(1, 10_000):
        for samples in block:
            samples.seconds.append(1.0)
            samples.disturbances.append(Disturbance("waited for a core") if rounds <= 28 else None)
        if end.after(rounds, block)[0]:
            break
    assert rounds == 44, "the first look at ten undisturbed rounds; that at 35 has seven"
