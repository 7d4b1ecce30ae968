"""Every arm at every place, and after every other, equally often."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.measure.rounds.orders import Order, Orders, williams

ARMS = range(2, 10)


def rounds_of(arms: int) -> int:
    """Return of how many rounds a design for so many arms is."""
    return arms if arms % 2 == 0 else 2 * arms


def drawn(seed: str, arms: int, rounds: int) -> list[Order]:
    orders = Orders(seed)
    return [orders.next(range(arms)) for _ in range(rounds)]


@given(seed=st.text(), arms=st.sampled_from(ARMS), designs=st.integers(1, 4))
def test_over_whole_designs_places_and_what_comes_before_are_balanced(
    seed: str, arms: int, designs: int
) -> None:
    found = drawn(seed, arms, designs * rounds_of(arms))
    assert all(sorted(order) == list(range(arms)) for order in found)
    places = Counter((arm, place) for order in found for place, arm in enumerate(order))
    assert len(places) == arms * arms
    assert set(places.values()) == {len(found) // arms}
    followers = Counter(pair for order in found for pair in pairwise(order))
    assert len(followers) == arms * (arms - 1)
    assert set(followers.values()) == {len(found) // arms}


@given(seed=st.text(), arms=st.sampled_from(ARMS), rounds=st.integers(1, 40))
def test_over_any_number_of_rounds_no_place_is_more_than_one_ahead(
    seed: str, arms: int, rounds: int
) -> None:
    found = drawn(seed, arms, rounds)
    for place in range(arms):
        held = Counter(dict.fromkeys(range(arms), 0))
        held.update(order[place] for order in found)
        assert max(held.values()) - min(held.values()) <= 1


@given(seed=st.text(), arms=st.sampled_from(ARMS))
def test_a_seed_gives_the_same_orders_again(seed: str, arms: int) -> None:
    assert drawn(seed, arms, 40) == drawn(seed, arms, 40)
    assert drawn(seed, 9, 40) != drawn(f"{seed}, another", 9, 40)


def test_each_design_is_another() -> None:
    found = drawn("task", 4, 400)
    assert len({tuple(found[first : first + 4]) for first in range(0, 400, 4)}) > 50


@pytest.mark.parametrize("arms", [3, 4])
def test_no_arm_keeps_to_one_that_ends_the_round_before(arms: int) -> None:
    """In 6,000 rounds all pairs of a last and a first arm meet alike, within a fifth."""
    found = drawn("task", arms, 6000)
    meetings = Counter((before[-1], after[0]) for before, after in pairwise(found))
    for same in (True, False):
        counts = [meetings[a, b] for a in range(arms) for b in range(arms) if (a == b) is same]
        mean = sum(counts) / len(counts)
        assert all(0.8 * mean < count < 1.2 * mean for count in counts)


def test_an_arm_that_drops_out_leaves_a_design_of_the_others() -> None:
    orders = Orders("task")
    for _ in range(3):
        orders.next(range(4))
    found = [orders.next((0, 2, 3)) for _ in range(6)]
    assert set(Counter(pair for order in found for pair in pairwise(order)).values()) == {2}
    assert orders.next((0,)) == (0,)


def test_one_arm_alone() -> None:
    assert williams(1)[0] == [(0,)]
