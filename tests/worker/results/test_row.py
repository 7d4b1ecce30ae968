"""Rows are written as docs/results-schema.md says, and read back as they were."""

import json

import pytest

from worker.results.row import MEASURED, Figures, Metric, Row, metric, read_rows

KEYS = ["role", "label", "configuration", "status", "metrics", "samples", "files"]
KEYS += ["absent", "settings", "environment", "reproduce"]


def row(**changes):
    fields = {
        "role": "candidate",
        "label": "DeepCache 2/0",
        "configuration": {"accelerators": {"deepcache": {"cache_interval": 2}}},
        "status": MEASURED,
        "metrics": [metric("timed_batches", 7, "", None), metric("speedup", 2.0, "×", "higher")],
        "samples": Figures(seconds=[1.0, None]),
        "absent": {"fid": "search.fid names no weights"},
        "settings": {"pipe": "TINY_SD15", "digest": "0123"},
        "environment": {"device": "a CPU"},
        "reproduce": {"command": "python -m worker search", "search": {}},
    }
    return Row(**fields | changes)


def test_a_row_has_its_keys_in_their_order_and_comes_back_as_it_was():
    line = json.dumps(row().as_json())
    assert list(json.loads(line)) == KEYS
    assert list(json.loads(line)["metrics"][0]) == [
        "name",
        "value",
        "low",
        "high",
        "unit",
        "better",
    ]
    assert read_rows([json.loads(line)]) == ([row()], 0)
    assert '"samples": {"seconds": [1.0, null]}' in line, (
        "figures that there are none of are left out"
    )
    assert '"value": 7,' in line, "a whole number stays one"


def test_only_a_repeated_measurement_has_a_study():
    repeated = row(study="confirmation").as_json()
    assert list(repeated) == [*KEYS, "study"]
    assert read_rows([repeated])[0][0].study == "confirmation"


def test_what_version_0_1_0_called_not_numbers_is_the_same():
    (read,), _ = read_rows([row().as_json() | {"status": "images are not numbers"}])
    assert read.status == "images contain NaN or Inf"


def test_summaries_are_no_rows_and_other_forms_are_counted():
    of_a_case = {"configuration": {}, "settings": {"case": "1-plain"}}
    assert read_rows([{"summary": {}}, of_a_case]) == ([], 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_what_is_not_finite_is_not_known(value):
    assert metric("psnr", value, "dB", "higher").value is None


def test_a_metric_is_found_by_its_name():
    assert row().value_of("speedup") == 2.0
    assert row().value_of("psnr") is None
    assert row().metric("timed_batches") == Metric(name="timed_batches", value=7)
    assert row().estimate_of("speedup").low is None


def test_scores_are_paired_by_prompt():
    """One that is not known takes the other of its prompt with it, and no other."""
    figures = Figures(baseline_clip_score=[1.0, None, 3.0, 4.0], clip_score=[None, 2.0, 3.5, 4.5])
    assert figures.score_pairs() == [(3.0, 3.5), (4.0, 4.5)]
