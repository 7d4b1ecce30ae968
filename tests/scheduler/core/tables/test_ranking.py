"""Devices in their order, without those that were taken or have another rank by now."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.tables.ranking import Ranking


@dataclass
class Device:
    ordinal: int
    rank: int = 0
    taken: bool = False


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("rank"), st.integers(0, 4), st.integers(0, 3)),
        st.tuples(st.sampled_from(["take", "free"]), st.integers(0, 4), st.just(0)),
        st.tuples(st.just("look"), st.just(0), st.integers(0, 6)),
    ),
    max_size=40,
)


@given(STEPS)
def test_they_come_as_if_they_were_sorted_anew_each_time(steps: list[tuple[str, int, int]]) -> None:
    devices = [Device(number) for number in range(5)]
    ranking: Ranking[Device] = Ranking(lambda d: d.rank, lambda d, _now: not d.taken)
    for device in devices:
        ranking.add(device)
    for what, number, amount in steps:
        device = devices[number]
        if what == "look":
            free = [d for d in devices if not d.taken]
            wanted = sorted(free, key=lambda d: (d.rank, d.ordinal))
            assert list(islice(ranking.in_turn(0.0), amount)) == wanted[:amount]
            assert ranking.first(0.0) is next(iter(wanted), None)
            assert ranking.all(0.0) == wanted
            continue
        if what == "rank":
            device.rank = amount
        device.taken = {"take": True, "free": False}.get(what, device.taken)
        ranking.add(device)
