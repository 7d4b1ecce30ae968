"""`status` names the winner, with its bound, interval and what was halved; its JSON keeps to the schema."""

from __future__ import annotations

import json

import pytest
from pydantic import TypeAdapter

from tests.helpers.json_schemas import FORMS, Status, schema_file, schema_of
from tests.helpers.sweep_runner import SweepRunner

SUMMARY = {
    "best": "DeepCache 3/0",
    "speedup": 2.06,
    "loss": 0.004,
    "within": True,
    "max_loss": 0.01,
    "beats_fewer_steps": {"DeepCache 3/0": "yes"},
    "told_apart": {"DeepCache 3/0": {"speed": "faster", "speedup_interval": [1.98, 2.14]}},
    "conclusion": "nothing else is open",
}


@pytest.mark.parametrize("name", FORMS)
def test_the_schema_file_is_that_of_the_types(name: str) -> None:
    assert json.loads(schema_file(name).read_text()) == schema_of(name), (
        "python -m tests.helpers.json_schemas writes it anew"
    )


def test_the_winner_by_name_and_what_was_halved(runner: SweepRunner) -> None:
    results = f"results {json.dumps({'summary': SUMMARY})}"
    runner.write(
        {"a": f"fits 2; {results}; ok", "b": "exit 2"},
        worker={"args": {"batch_size": 8}},
        retries={"max_attempts": 1, "on_oom": {"batch_size": "halve"}},
    )
    ended = runner.run()
    for out in (ended.out, runner.run("status", runner.file).out):
        (row,) = (
            line for line in out.splitlines() if line.startswith("a ") and "completed " in line
        )
        assert "DeepCache 3/0" in row
        assert "2.06×" in row
        assert "batch_size halved to 2: memory ran out; nothing else is open" in row
    status = TypeAdapter(Status).validate_python(runner.status(), strict=True)
    task = status["tasks"][0]
    assert (task["best"], task["within"], task["max_loss"]) == ("DeepCache 3/0", True, 0.01)
    assert (task["speedup_interval"], task["loss_interval"]) == ([1.98, 2.14], None)
    assert task["beats_fewer_steps"] == "yes"
    assert task["halved"] == {"batch_size": 2}
    assert status["tasks"][1]["best"] is None


@pytest.mark.parametrize("strange", [5, [], {}, "\x1b[31m", None, True])
def test_what_a_summary_says_is_not_trusted(runner: SweepRunner, strange: object) -> None:
    summary = json.dumps({"summary": dict.fromkeys(SUMMARY, strange)})
    runner.write({"a": f"results {summary}; ok"})
    ended = runner.run()
    assert ended.code == 0
    assert "\x1b" not in ended.out
    TypeAdapter(Status).validate_python(runner.status(), strict=True)
