"""A task that measures no speed: images are made and scored, once, and the file says no more."""

import pytest

from tests.helpers.tiny_task import SECTION, measure, read, request, value
from worker.measure.rounds import call
from worker.results.row import read_rows
from worker.results.statistics import FEWEST_IMAGES
from worker.results.summary import in_words, summarise
from worker.search.section import Search, read_search

NOT_TIMED = SECTION | {"timing": "off"}


@pytest.fixture
def calls(monkeypatch):
    """Return a list to which each full call of a pipeline adds its configuration's label."""
    made = []
    once = call._call

    def counting(context, configuration, indices, steps):
        if steps is None:
            made.append(configuration.label)
        return once(context, configuration, indices, steps)

    monkeypatch.setattr(call, "_call", counting)
    return made


def test_images_are_made_once_and_no_figure_is_of_speed(tmp_path, calls):
    path = tmp_path / "t.jsonl"
    summary = measure(path, section=NOT_TIMED, num_samples=3, batch_size=2)
    *rows, last = read(path)
    assert sorted(calls) == sorted(2 * [row["label"] for row in rows])
    for row in rows:
        names = {metric["name"] for metric in row["metrics"]}
        assert not names & {"seconds_per_image", "speedup", "efficiency", "timed_batches"}
        assert value(row, "clip_score") is not None
        assert row["samples"].keys().isdisjoint({"seconds", "baseline_seconds"})
        for name in ("seconds_per_image", "speedup", "energy_per_image", "device_seconds"):
            assert row["absent"][name] == "search.timing is off"
    assert last["summary"]["timed"] is False
    assert last["summary"]["conclusion"].startswith("speed was not measured")
    assert not last["summary"].keys() & {"best", "speedup", "beats_fewer_steps", "overhead"}
    assert in_words(summary)[0] == "no speed was measured: search.timing is off"


def test_its_rows_hold_for_it_alone(tmp_path, calls):
    path = tmp_path / "t.jsonl"
    timed = SECTION | {"configurations": [], "timing": {"warmup": 0, "repeats": 1}}
    measure(path, section=timed | {"timing": "off"}, num_samples=1, batch_size=1)
    first = len(calls)
    measure(path, section=timed | {"timing": "off"}, num_samples=1, batch_size=1)
    assert len(calls) == first
    measure(path, section=timed, num_samples=1, batch_size=1)
    assert len(calls) > first
    assert all(value(row, "speedup_pairs") for row in read(path)[-3:-1])


def test_a_bound_is_answered_without_speed(tmp_path):
    path = tmp_path / "t.jsonl"
    measure(path, section=NOT_TIMED, num_samples=FEWEST_IMAGES, batch_size=8)
    rows, _ = read_rows(read(path))
    summary = summarise(rows, max_loss=0.9)
    assert {answered.answer for answered in summary.bound.values()} <= {"within", "cannot tell yet"}
    assert "within a loss of 90%" in summary.conclusion()
    assert summary.best is None
    assert summary.frontier == []


def test_it_is_written_as_it_is_read():
    search = request(NOT_TIMED).search
    assert search.model_dump(mode="json", exclude_defaults=True)["timing"] == "off"
    assert Search.model_validate(search.model_dump(mode="json")) == search


@pytest.mark.parametrize("written", ["of", "on", ""])
def test_another_word_is_told(written):
    search, problems = read_search({"timing": written})
    assert search is None
    assert problems == [("search.timing", f"expected keys with values, or off, found {written!r}")]
