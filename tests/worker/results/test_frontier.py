"""What no other beats, and whether it keeps a bound."""

import pytest

from tests.helpers.measured_rows import BASELINE, HALF, NULL, THIRD, labels, row, unsure_of_speed
from worker.results.frontier import Bound, bound, frontier


def test_frontier_leaves_out_what_another_beats_and_the_null_arm():
    good, beaten = row("good", 2.5, 0.01), row("beaten", 1.5, 0.03)
    found = frontier([BASELINE, NULL, HALF, THIRD, good, beaten])
    assert labels(found) == ["baseline", "good", "15 steps"]


def test_a_gain_of_quality_that_may_be_chance_is_a_tie_with_the_baseline():
    slower = row("slower", 0.9, -0.01, spread_of=0.02)
    assert labels(frontier([BASELINE, slower])) == ["baseline"]
    assert labels(frontier([BASELINE, row("slower", 0.9, -0.01, images=15)])) == ["baseline"]
    surely = row("surely better", 0.9, -0.01, spread_of=0.005)
    assert labels(frontier([BASELINE, surely])) == ["surely better", "baseline"]
    faster = row("faster", 1.5, -0.01, spread_of=0.02)
    fastest = row("fastest", 2.0, -0.001, spread_of=0.02)
    assert labels(frontier([BASELINE, faster, fastest])) == ["fastest"]


def test_without_quality_there_is_no_frontier():
    bare = [item.model_copy(update={"metrics": []}) for item in (BASELINE, HALF)]
    assert frontier(bare) == []


def test_an_open_bound_names_the_images_that_would_decide():
    said = bound(row("candidate", 2.0, 0.04, spread_of=0.02), 0.05)
    assert said.answer == "cannot tell yet"
    assert said.images == pytest.approx(128, abs=1)
    assert bound(row("candidate", 2.0, 0.04, spread_of=0.01), 0.05) == Bound("within")


def test_a_tie_with_the_baseline_is_not_on_the_frontier():
    tie = unsure_of_speed("tie", 1.01, 0.98, 1.04)
    assert labels(frontier([BASELINE, tie])) == ["baseline"]
