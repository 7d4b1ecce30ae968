"""Thousands of seeded schedules of faults; a failing seed is printed, and how to replay it."""

import pytest

from scheduler.core.verdict import Kind
from tests.simulation.scenario import build, live_through
from tests.simulation.seeds import live_through_all

SEEDS = 2000
GROUPS = 20


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_promise_holds_whatever_happens(group):
    live_through_all(range(group, SEEDS, GROUPS), "tests.simulation", build, live_through)


def test_a_seed_replays_exactly():
    worlds = [build(7), build(7)]
    exits = [live_through(world, 7) for world in worlds]
    assert exits[0] == exits[1]
    assert worlds[0].tell_story(2000) == worlds[1].tell_story(2000)


def test_the_schedules_reach_every_kind_of_trouble():
    """A simulation that never meets a fault proves nothing about it."""
    met = set()
    for seed in range(200):
        world = build(seed)
        live_through(world, seed)
        for _, *words in world.story:
            met |= (
                set(str(words[0]).split()) | {type(words[1]).__name__}
                if words[1:]
                else {str(words[0])}
            )
            if words[0] == "judged":
                met.add(words[3])
    wanted = {
        "--- power cut", "--- the dispatcher is killed", "adopted", "leap", "clock",
        "Start", "Stop", "WriteCheckpoint", "CheckActivity", "CheckOutput", "CheckDisk", "Waits", "SetAside",
        "Paused", "Resumed", "Draining", "Braked", "Finish", "StartRefused", "WriteFailed", "DiskWritable",
        "DeviceGone", "StopAsked", "PauseAsked", "ResumeAsked", "DrainAsked", "AtMost", "Obeyed",
        "ReloadAsked", "Reloaded", "ReloadRefused", "Withdrawn",
        *(kind.value for kind in Kind),
    }  # fmt: skip
    assert wanted <= met
