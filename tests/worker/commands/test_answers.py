"""`python -m worker answers`: what results files hold under a bound, whoever wrote them."""

from __future__ import annotations

import io
import json

import pytest

from tests.helpers.measured_rows import BASELINE, HALF, row
from worker.commands.answers import answers
from worker.commands.main import main


def ours(measured, digest="now", **more):
    settings = {"digest": digest, "batch_size": 4}
    return {**measured.as_json(), "settings": settings, "environment": {}, **more}


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Ask about lines of one file; return the task's answer, the whole, or what was said instead."""

    def ask(lines, **question):
        file = tmp_path / "task.jsonl"
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        file.write_text("".join(f"{text}\n" for text in texts))
        whole = {"results": {"task": str(file)}, **question}
        data = io.BytesIO(json.dumps(whole).encode())
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))
        code = main(["answers"])
        said = capsys.readouterr()
        if code:
            return said.err
        answer = json.loads(said.out)
        return answer | answer["tasks"].get("task", {})

    return ask


NULL = row("other seeds", 1.0, 0.0, "control", spread_of=0.001, seeds=1)
FAST = row("fast", 2.5, 0.03, spread_of=0.01, x="fast")
SAFE = row("safe", 1.5, 0.001, spread_of=0.002, x="safe")
OPEN = row("open", 3.0, 0.01, spread_of=0.02, x="open")
OURS = [ours(one) for one in (BASELINE, NULL, HALF, FAST, SAFE, OPEN)]


@pytest.mark.parametrize(
    ("max_loss", "best", "bounds"),
    [
        (0.05, "open", ["within", "within", "within"]),
        (0.012, "safe", ["not within", "within", "cannot tell yet"]),
        (0.025, "safe", ["cannot tell yet", "within", "cannot tell yet"]),
    ],
)
def test_another_bound_is_another_answer_of_the_same_rows(ask, max_loss, best, bounds):
    found = ask(OURS, max_loss=max_loss)
    assert (found["best"]["best"], found["best"]["within"]) == (best, True)
    rows = {one["label"]: one for one in found["rows"]}
    assert [rows[name]["bound"] for name in ("fast", "safe", "open")] == bounds
    assert all(
        ("more_images" in one) == (one.get("bound") == "cannot tell yet") for one in rows.values()
    )


def test_without_a_bound_the_one_of_the_summary_holds(ask):
    assert ask(OURS)["max_loss"] == 0.05
    assert ask([*OURS, {"summary": {"max_loss": 0.02}}])["max_loss"] == 0.02


def test_what_no_bound_changes_is_taken_from_the_summary(ask):
    summary = {"summary": {"beats_fewer_steps": {"open": "no"}}}

    def beats(lines):
        rows = {one["label"]: one for one in ask(lines, max_loss=0.05)["rows"]}
        return rows["open"]["beats_fewer_steps"]

    assert beats([*OURS, summary]) == "no"
    assert beats([*OURS, summary, OURS[-1]]) == "cannot tell yet", "rows came after it"


def test_what_the_best_surely_beats_is_named(ask):
    assert ask(OURS, max_loss=0.05)["beats"] == ["25 steps", "fast", "safe"]
    close = row("nearly", 2.99, 0.0, x="nearly")
    assert "nearly" not in ask([*OURS, ours(close)], max_loss=0.05)["beats"]


def test_only_the_newest_rows_of_the_newest_settings_count(ask):
    before = [ours(row("gone", 9.0, 0.0, x=1), digest="before"), ours(BASELINE, digest="before")]
    again = ours(row("safe", 1.6, 0.001, spread_of=0.002, x="safe"))
    study = ours(row("elsewhere", 7.0, 0.0, y=1), study="confirmation")
    found = ask([*before, *OURS, again, study], max_loss=0.01)
    assert found["earlier"] == 1
    assert found["best"]["speedup"] == 1.6
    assert {"gone", "elsewhere"}.isdisjoint(one["label"] for one in found["rows"])


@pytest.mark.parametrize(
    "line",
    [
        "{cut",
        "[]",
        "\x00",
        json.dumps({**OURS[0], "metrics": 5}),
        json.dumps({**OURS[0], "samples": {"seconds": "1"}}),
        json.dumps({**OURS[3], "label": "bad"}).replace("2.5", "NaN", 1),
        json.dumps({**OURS[3], "label": "bad"}).replace("2.5", "1e999", 1),
    ],
)
def test_a_damaged_line_is_counted_and_takes_no_other_with_it(ask, line):
    found = ask([line, *OURS], max_loss=0.01)
    assert found["unread"] == 1
    assert found["best"]["best"] == "safe"


def one_metric(label, value, spread=0.0, role="candidate", name="seconds", better="lower"):
    ends = {"low": value - spread, "high": value + spread} if spread else {}
    metrics = [{"name": name, "value": value, "better": better, **ends}]
    return {"label": label, "role": role, "metrics": metrics}


def test_of_another_worker_a_metric_is_enough(ask):
    found = ask([one_metric("slow", 2.0), one_metric("quick", 1.0), {"metrics": []}])
    assert (found["objective"], found["better"], found["best"]) == ("seconds", "lower", None)
    assert [one["label"] for one in found["rows"]] == ["slow", "quick", "task"]
    assert found["rows"][1]["objective"]["value"] == 1.0


def test_of_another_worker_any_metric_of_the_baseline_can_be_bounded(ask):
    def scored(label, seconds, accuracy, role="candidate"):
        line = one_metric(label, seconds, 0.01, role)
        line["metrics"] += one_metric("", accuracy, 0.001, name="accuracy", better="higher")[
            "metrics"
        ]
        return line

    lines = [
        scored("as it was", 2.0, 0.9, "baseline"),
        scored("a", 1.0, 0.895),
        scored("b", 0.5, 0.6),
    ]
    found = ask(lines, metric="accuracy", max_loss=0.01)
    assert found["best"] == {
        "best": "a",
        "speedup": 2.0,
        "loss": pytest.approx(1 / 180),
        "within": True,
    }
    assert {one["label"]: one.get("bound") for one in found["rows"]} == {
        "as it was": None,
        "a": "within",
        "b": "not within",
    }


@pytest.mark.parametrize(
    ("metric", "said"),
    [("clip_scroe", "did you mean clip_score?"), ("images", "the baseline has none of it")],
)
def test_a_metric_that_cannot_be_bounded_is_an_error_that_names_others(ask, metric, said):
    lines = [ours(one) for one in (row("x", 1.5, 0.01), BASELINE)]
    assert said in ask(lines, metric=metric)


@pytest.mark.parametrize(
    "question", ["", "[]", '{"results": 1}', '{"results": {}, "max_loss": "1"}']
)
def test_what_is_no_question_is_said_in_a_sentence(question, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(question.encode())))
    assert main(["answers"]) == 2
    assert "expected a JSON object with results" in capsys.readouterr().err


def test_figures_without_as_many_of_the_baseline_decide_nothing(ask):
    """A baseline that says its steps is no control; nor is there a curve of what has no pairs."""
    steps = {"configuration": {"accelerators": {}, "steps": 50}}
    alone = ours(HALF)
    alone["samples"] = {**alone["samples"], "baseline_clip_score": []}
    rows = {
        one["label"]: one
        for one in ask([ours(BASELINE, **steps), alone, ours(FAST), ours(SAFE)])["rows"]
    }
    assert rows["fast"]["beats_fewer_steps"] == "cannot tell yet"


def test_rows_of_another_device_are_not_mixed_in(ask):
    """As where an attempt on one model of GPU was ended, and the next one runs on another."""
    fast_one = [line | {"environment": {"device": "H100"}} for line in OURS]
    slow_one = [line | {"environment": {"device": "A100"}} for line in (OURS[0], OURS[4])]
    found = ask([*fast_one, *slow_one], max_loss=0.05)
    assert [one["label"] for one in found["rows"]] == ["baseline", "safe"]
    assert found["earlier"] == len(OURS) - 2
    assert not found["notices"], "one task is of one device"


def test_tasks_on_devices_of_several_models_are_told_of(tmp_path):
    files = {name: tmp_path / name for name in ("a", "b", "c")}
    for file, model in zip(files.values(), ("H100", "A100", "H100"), strict=True):
        line = OURS[0] | {"environment": {"device": model}}
        file.write_text(json.dumps(line) + "\n")
    [notice] = answers(files, None, None)["notices"]
    assert "devices of 2 models: H100 (2), A100 (1);" in notice
