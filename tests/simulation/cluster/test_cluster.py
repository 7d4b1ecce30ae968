"""Thousands of seeded schedules of faults on a cluster; a failing seed is printed, and how to replay it."""

import pytest

from scheduler.core.verdict import Kind
from tests.simulation.cluster.scenario import build, build_large, live_through, live_through_large
from tests.simulation.seeds import live_through_all

SEEDS = 2000
GROUPS = 20


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_promise_holds_whatever_happens(group):
    live_through_all(range(group, SEEDS, GROUPS), "tests.simulation.cluster", build, live_through)


@pytest.mark.parametrize("seed", range(2))
def test_nodes_that_die_and_are_cut_off_cost_a_large_sweep_no_task(seed):
    world = build_large(seed, nodes=100)
    assert live_through_large(world, seed) == 0
    assert len(world.done) == len(world.natures)


def test_the_schedules_reach_every_kind_of_trouble():
    """A simulation that never meets a fault proves nothing about it."""
    met = set()
    for seed in range(200):
        world = build(seed)
        live_through(world, seed)
        for _, *words in world.story:
            met.add(words[0])
            if words[0] in ("event", "action"):
                met.add(type(words[1]).__name__)
            if words[0] == "judged":
                met.add(words[3])
    assert {
        "--- node dies", "--- node is cut off", "--- node is back", "--- the engine crashes",
        "--- power cut", "--- the dispatcher is killed", "lease is over", "lost", "adopted",
        "taken from the queue", "requeued by an administrator", "cancelled by somebody",
        "Queued", "Began", "StartRefused", "WriteFailed", "Stop",
        Kind.LOST.value, Kind.NOT_STARTED.value, Kind.STOPPED.value, Kind.TIMEOUT.value,
    } <= met  # fmt: skip
