"""Configurations proposed where there are too many to try each: pure, and live on a trained miniature."""

from __future__ import annotations

import json
import math

import pytest

from tests.helpers.tiny_task import NO_CONTROLS, read
from tests.worker.measure.adaptive.test_task import of_kind, search
from worker.measure.adaptive.decisions import Goal
from worker.measure.adaptive.proposing import GENERATION, Proposals
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.search.plan import make_plan
from worker.search.section import Search

RANGES = {
    "strategy": "adaptive",
    "configurations": [
        {"deepcache": {"cache_interval": {"from": 2, "to": 10}, "cache_branch_id": [0, 3]}},
        {"tome": {"ratio": {"from": 0.1, "to": 0.7}, "max_downsample": 1}},
    ],
    "controls": NO_CONTROLS,
}
GOAL = Goal("frontier", 0.05)


def proposals_of(section=RANGES, seed=0, **changes):
    task = Task(find_pipe("SD15"), find_sched("DDIM"), 20)
    plan = make_plan(task, Search.model_validate(section | changes))
    return plan, Proposals(plan, GOAL, seed)


def figures(configuration):
    """Return a speed-up and a loss that grow with the interval, and of ToMe neither."""
    interval = configuration.accelerators.get("deepcache", {}).get("cache_interval", 1)
    return 1 + 0.2 * interval, 0.001 * interval**2


def drive(proposals, answer=figures):
    found = []
    while new := proposals.next():
        assert len(new) <= GENERATION
        found += new
        proposals.tell({item.label: answer(item) for item in new})
    return found


def test_as_many_are_proposed_as_were_asked_for_each_once_and_within_its_range():
    plan, proposals = proposals_of(proposals=24)
    found = drive(proposals)
    assert len({item.key for item in found}) == len(found) == 24
    assert found == [item for item in plan.configurations if item.role == "candidate"]
    for item in found:
        if "deepcache" in item.accelerators:
            interval = item.accelerators["deepcache"]["cache_interval"]
            assert isinstance(interval, int)
            assert 2 <= interval <= 10
        else:
            assert 0.1 <= item.accelerators["tome"]["ratio"] <= 0.7


def test_the_same_seed_and_figures_give_the_same_and_another_seed_others():
    one, again, other = (
        [item.label for item in drive(proposals_of(proposals=24, seed=seed)[1])]
        for seed in (3, 3, 4)
    )
    assert one == again
    assert one != other


def test_it_proposes_what_is_good_more_often_than_chance():
    """Of the two methods one is never faster; drawn at random it would be half of all."""
    centred = {"cache_interval": {"from": 2, "to": 10}, "center": {"from": 1, "to": 18}}
    both = [{"deepcache": centred}, RANGES["configurations"][1]]
    _, proposals = proposals_of(configurations=both, proposals=32)
    late = drive(proposals)[16:]
    assert sum("tome" in item.accelerators for item in late) < len(late) / 3


@pytest.mark.parametrize("nothing", [None, (math.nan, 0.0), (2.0, math.inf)])
def test_what_fails_or_is_no_number_ends_nothing(nothing):
    _, proposals = proposals_of(proposals=16)
    assert len(drive(proposals, lambda _item: nothing)) == 16


def test_what_is_all_proposed_already_ends_it():
    few = [{"deepcache": {"cache_interval": [2, 3, 4]}}]
    _, proposals = proposals_of(configurations=few, proposals=16)
    assert {item.label for item in drive(proposals)} == {
        "DeepCache 2/0",
        "DeepCache 3/0",
        "DeepCache 4/0",
    }


LIVE = {
    "configurations": [
        {"deepcache": {"cache_interval": {"from": 2, "to": 4}, "cache_branch_id": [0, 1]}}
    ],
    "controls": NO_CONTROLS,
    "proposals": 4,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the results file of a search over ranges, and its summary."""
    path = tmp_path_factory.mktemp("proposed") / "t.jsonl"
    return path, search(path, **LIVE)


def test_a_search_over_ranges_measures_what_is_proposed(finished):
    path, summary = finished
    (decisions,) = of_kind(path, "decisions")
    assert decisions[0]["what"] == "proposed"
    proposed = [
        name for item in decisions if item["what"] == "proposed" for name in item["why"].split(", ")
    ]
    assert len(set(proposed)) == len(proposed) == 4
    own = [line for line in read(path) if "role" in line and "study" not in line]
    assert [row["label"] for row in own] == ["baseline", *proposed]
    assert summary.configurations.planned == 5
    again = Search.model_validate(json.loads(json.dumps(own[0]["reproduce"]["search"])))
    assert (
        again.configurations
        == Search.model_validate(LIVE | {"strategy": "adaptive"}).configurations
    )


@pytest.mark.parametrize("rows", [3, None])
def test_it_is_rebuilt_from_the_rows_alone(finished, tmp_path, rows):
    path = tmp_path / "t.jsonl"
    lines = finished[0].read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:rows]))
    said = []
    again = search(path, said.append, **LIVE)
    assert [
        item["why"] for item in of_kind(path, "decisions")[-1] if item["what"] == "proposed"
    ] == [
        item["why"] for item in of_kind(finished[0], "decisions")[0] if item["what"] == "proposed"
    ]
    if rows is None:
        assert again == finished[1]
        assert not any(line.startswith("measuring") for line in said)
