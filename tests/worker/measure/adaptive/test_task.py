"""A task searched adaptively on a trained miniature, from beginning to end and from the middle."""

from __future__ import annotations

import json
import re

import pytest
import torch

from tests.helpers.tiny_task import NO_CONTROLS, read, value
from worker.errors import ConfigurationError
from worker.measure import rows
from worker.measure.settings import TaskRequest
from worker.measure.task.run import run
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.results.file import ResultsFile
from worker.results.statistics import Estimate
from worker.results.summary import Counts
from worker.search import looks
from worker.search.section import Search, read_search

SECTION = {
    "strategy": "adaptive",
    "max_loss": 0.05,
    "configurations": [
        {"deepcache": {"cache_interval": [2, 4]}},
        {"tome": {"ratio": 0.5, "max_downsample": 2}},
    ],
    "controls": NO_CONTROLS | {"null_arm": True},
    "timing": {"repeats": 2, "energy": False},
}

# the faster one seems to be within the bound, by no more than chance
OPEN = {"max_loss": 0.055, "configurations": [{"deepcache": {"cache_interval": [2, 4]}}]}


def interval(value):
    return {"configurations": [{"deepcache": {"cache_interval": value}}]}


def search(path, say=lambda _line: None, **changes):
    torch.set_num_threads(1)
    task = Task(find_pipe("SHAPES_SDXL"), find_sched("DDIM"), 4)
    request = TaskRequest(task, Search.model_validate(SECTION | changes), 16, 8)
    return run(request, ResultsFile.open(path), "cpu", say)


@pytest.fixture(scope="module")
def quiet():
    """Have speed-ups be what they are on a quiet machine: two rounds on a busy one may say anything."""
    known = {"DeepCache 4/0": 1.9, "DeepCache 2/0": 1.4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            rows,
            "_gain",
            lambda samples, *_others: Estimate(known.get(samples.configuration.label, 1.0)),
        )
        yield


@pytest.fixture(scope="module")
def said():
    """Return what the search of `finished` says."""
    return []


@pytest.fixture(scope="module")
def finished(tmp_path_factory, said, quiet):
    """Return the results file of a search, and its summary."""
    path = tmp_path_factory.mktemp("finished") / "t.jsonl"
    summary = search(path, said.append)
    return path, summary


def of_kind(path, kind):
    # through what passes over a line that is cut off
    return [line[kind] for line in ResultsFile.open(path).lines if kind in line]


def test_the_summary_tells_what_was_found_why_it_ended_and_what_it_cost(finished):
    path, _ = finished
    (summary,) = of_kind(path, "summary")
    assert summary["search"]["wanted"] == "the fastest within a loss of 5%"
    assert summary["search"]["stopped"]
    assert summary["configurations"]["planned"] == summary["configurations"]["measured"] == 5
    assert summary["configurations"]["dropped"] >= 1
    assert summary["best"] == summary["search"]["chosen"]["label"]
    assert "on 16 prompts" in summary["search"]["chosen"]["confirmed"]
    found = [line for line in read(path) if "role" in line]
    seen = [row for row in found if str(row.get("study")).startswith("prompts")]
    confirmed = [row for row in found if row.get("study") == "confirmation"]
    counted = [value(row, "images_generated") for row in (*seen, *confirmed)]
    assert summary["images_generated"] == sum(counted)


def test_each_configuration_has_one_row_of_all_its_looks(finished):
    path, _ = finished
    found = [line for line in read(path) if "role" in line]
    own = {row["label"]: row for row in found if "study" not in row}
    assert set(own) == {
        "baseline",
        "baseline, other seeds",
        "DeepCache 2/0",
        "DeepCache 4/0",
        "ToMe 0.5/2",
    }
    for label, row in own.items():
        seen = [item for item in found if item["label"].startswith(f"{label} (prompts")]
        scores = [score for item in seen for score in item["samples"]["clip_score"]]
        assert row["samples"]["clip_score"] == scores
        assert row["settings"]["num_samples"] == value(row, "images_scored") == len(scores)


def test_each_has_pictures_of_the_same_prompts(finished):
    path, _ = finished
    found = [line for line in read(path) if "role" in line and "study" not in line]
    shown = [row["pictures"] for row in found if "seeds" not in row["configuration"]]
    assert len(shown) == 4
    assert {tuple(one["seed"] for one in pictures) for pictures in shown} == {(0, 1)}
    assert all((path.parent / one["file"]).is_file() for pictures in shown for one in pictures)


def test_the_log_stands_beside_the_results(finished):
    path, _ = finished
    (decisions,) = of_kind(path, "decisions")
    assert decisions[0]["what"] == "asked"
    assert [item["what"] for item in decisions[-2:]] == ["stopped", "confirmed"]
    assert {"label", "prompts", "why", "images"} <= next(
        item.keys() for item in decisions if item["what"] == "dropped"
    )


@pytest.mark.usefixtures("finished")
def test_what_is_asked_is_said_before_it_is_measured(said):
    asked = said.index("asked: the speed of 3 configurations (0 images so far)")
    assert asked < said.index("  round 1 of 2")


@pytest.mark.usefixtures("finished")
def test_it_says_how_far_it_is_up_to_its_end(said):
    lines = [line for line in said if line.startswith("progress: ")]
    # 5 on 8 prompts, 3 and the baseline on 8 more, one of 3 with baseline and null arm confirmed on 16
    assert lines[0] == "progress: 40 of 120 images if no more are dropped, 3 candidates left"
    pairs = [re.findall(r"(\d+) of (\d+)", line) for line in lines]
    assert {len(found) for found in pairs} == {1}, "one share, and nothing that reads like a second"
    shares = [int(done) / int(most) for ((done, most),) in pairs]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5
    assert shares[-1] == 1


def test_a_finished_search_measures_nothing_again(finished, tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(finished[0].read_bytes())
    again = search(path)
    before, after = (
        [line for line in read(file) if "role" in line] for file in (finished[0], path)
    )
    assert after == before
    assert again == finished[1]


def without_times(decision):
    """Leave out what is another the next time: rounds that are taken again, and speeds."""
    return decision | {"images": 0, "why": decision["why"].partition("×")[2]}


@pytest.mark.parametrize("left", [5, 6])
def test_an_interrupted_search_goes_on_behind_its_rows_and_finds_the_same(finished, tmp_path, left):
    """From the first look on nothing but images decides, and those are the same again."""
    path = tmp_path / "t.jsonl"
    lines = finished[0].read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:left]) + lines[left][:50])
    search(path)
    (decisions,) = of_kind(path, "decisions")
    (before,) = of_kind(finished[0], "decisions")
    assert list(map(without_times, decisions)) == list(map(without_times, before))
    (summary,) = of_kind(path, "summary")
    assert summary["best"] == of_kind(finished[0], "summary")[0]["best"]


def test_a_spent_budget_ends_it_with_what_would_come_next(finished, tmp_path):
    path = tmp_path / "t.jsonl"
    lines = finished[0].read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]))
    said = []
    summary = search(path, said.append, budget="1ms")
    assert summary.search["stopped"] == "the budget of 0.001 s is spent"
    assert summary.search["next"].endswith("on prompts 9 to 16")
    assert any(line.startswith("would do next: ") for line in said)


def test_too_few_prompts_are_refused(tmp_path):
    task = Task(find_pipe("SHAPES_SDXL"), find_sched("DDIM"), 4)
    request = TaskRequest(task, Search.model_validate(SECTION), 8, 8)
    with pytest.raises(ConfigurationError, match="needs 16 prompts or more"):
        run(request, ResultsFile.open(tmp_path / "t.jsonl"), "cpu", print)


@pytest.mark.parametrize(
    ("section", "key", "sentence"),
    [
        ({"strategy": "random"}, "search.strategy", "input should be 'grid' or 'adaptive'"),
        ({"target_speedup": 2.0}, "search", "target_speedup ends an adaptive search"),
        ({"budget": "2h"}, "search", "budget ends an adaptive search"),
        (SECTION | {"target_speedup": 1.0}, "search.target_speedup", "greater than 1"),
        (SECTION | {"budget": 7200}, "search.budget", "is not a duration"),
        (SECTION | {"timing": "off"}, "search", "timing: off does not measure"),
        (SECTION | {"weights": "random"}, "search", "mean nothing with weights: random"),
        (SECTION | {"stability": {"num_samples": 4}}, "search", "leave stability out, or set"),
        (SECTION | {"configurations": []}, "search", "nothing to choose from"),
        ({"proposals": 8}, "search", "proposals are an adaptive search's"),
        (
            interval({"from": 2, "to": 9}),
            "search",
            "configurations.0.deepcache.cache_interval is a range",
        ),
        *(
            (
                SECTION | interval(value),
                "search.configurations.0.deepcache.cache_interval",
                sentence,
            )
            for value, sentence in (
                ({"from": 9, "to": 2}, "to is to be more than from"),
                ({"from": 2}, "expected a value, a list, or {from: …, to: …}"),
                ({"from": 0, "to": 2}, "greater than or equal to 1"),
                ({"from": 2, "to": 2.5}, "should be a valid integer"),
                ({"from": True, "to": 5}, "expected a number, found True"),
            )
        ),
    ],
)
def test_bad_input_is_told_in_one_sentence(section, key, sentence):
    _, problems = read_search(section)
    assert [where for where, _ in problems] == [key]
    assert sentence in problems[0][1]


def test_a_search_is_reproduced_with_the_bound_that_was_named():
    task = Task(find_pipe("SHAPES_SDXL"), find_sched("DDIM"), 4)
    request = TaskRequest(task, Search.model_validate(SECTION), 16, 8)
    again = Search.model_validate(json.loads(json.dumps(request.reproduction()["search"])))
    assert "max_loss" in again.model_fields_set


def test_a_budget_that_is_spent_in_the_middle_of_a_look_ends_it_there(quiet, tmp_path, monkeypatch):
    """Of the first look one block is measured in any case, of this size: the null arm and a candidate."""
    monkeypatch.setattr(looks, "_BLOCK", 2)
    path, said = tmp_path / "t.jsonl", []
    summary = search(path, said.append, budget="1ms")
    rows = [row for row in read(path) if row.get("study") == "prompts 1 to 8"]
    assert [row["label"].partition(" (")[0] for row in rows] == [
        "baseline",
        "baseline, other seeds",
        "DeepCache 2/0",
    ]
    spent = "the budget of 0.001 s is spent"
    assert any(f"dropped: 2 configurations are not measured: {spent}" in line for line in said)
    assert summary.search["stopped"] == spent
    assert summary.search["next"] == "the speed of 2 configurations"
    assert summary.configurations == Counts(planned=5, measured=3, dropped=2)
    before = [line for line in read(path) if "role" in line]
    assert search(path, budget="1ms") == summary
    assert [line for line in read(path) if "role" in line] == before


@pytest.fixture(scope="module")
def second(tmp_path_factory, quiet):
    """Return the results file of a search whose first choice is not confirmed, its log and its summary."""
    path = tmp_path_factory.mktemp("second") / "t.jsonl"
    said = []
    return path, said, search(path, said.append, **OPEN)


def test_where_the_first_is_not_confirmed_the_next_best_is(second):
    path, said, summary = second
    (decisions,) = of_kind(path, "decisions")
    told = [(item["what"], item["label"]) for item in decisions if "confirmed" in item["what"]]
    assert told == [("not confirmed", "DeepCache 4/0"), ("confirmed", "DeepCache 2/0")]
    assert any(line.startswith("not confirmed: DeepCache 4/0: ") for line in said)
    assert [item["label"] for item in summary.search["tried"]] == ["DeepCache 4/0", "DeepCache 2/0"]
    assert all("on 16 prompts" in item["confirmed"] for item in summary.search["tried"])
    assert summary.best.label == summary.search["chosen"]["label"] == "DeepCache 2/0"
    found = [line for line in read(path) if line.get("study") == "confirmation"]
    assert len({row["label"] for row in found}) == len(found) == 4
    counted = [value(line, "images_generated") for line in read(path) if "study" in line]
    assert summary.images_generated == sum(counted) == decisions[-1]["images"]


def up_to_the_first_confirmation(path, tmp_path):
    """Return a copy of a results file that ends with what was first confirmed."""
    lines = path.read_bytes().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if b"(confirmation)" in line)
    copy = tmp_path / "t.jsonl"
    copy.write_bytes(b"".join(lines[: first + 3]))
    return copy


def test_a_search_interrupted_while_it_confirms_goes_on_behind_its_rows(second, tmp_path):
    again = search(up_to_the_first_confirmation(second[0], tmp_path), **OPEN)
    assert again.best.label == second[2].best.label
    assert [item["label"] for item in again.search["tried"]] == ["DeepCache 4/0", "DeepCache 2/0"]


def test_no_further_one_is_confirmed_once_the_budget_is_spent(second, tmp_path):
    said = []
    path = up_to_the_first_confirmation(second[0], tmp_path)
    summary = search(path, said.append, budget="1ms", **OPEN)
    assert summary.search["stopped"] == "the budget of 0.001 s is spent"
    assert "confirmed: none of DeepCache 4/0" in said
    assert summary.search["next"] is not None
    assert len([line for line in read(path) if line.get("study") == "confirmation"]) == 3
