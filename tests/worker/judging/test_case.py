"""The example cases: each pair is judged as its expected.json says, by the command itself."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import pytest

from worker.commands.main import main

CASES = sorted((Path(__file__).resolve().parents[3] / "cases").iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_static_verdict_is_the_expected_one(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = json.loads((case / "expected.json").read_text())
    code = main(["compare", str(case / "gt.py"), str(case / "gen.py"), "--json"])
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert code == expected["exit_code"]
    if code == 2:
        assert "does not parse" in printed.err
        return
    answers = {item["field"]: item["match"] for item in report["fields"]}
    assert {name: answer for name, answer in answers.items() if answer is not True} == expected[
        "fields"
    ]
    assert report["matched"] == sum(answer is True for answer in answers.values())
    assert report["total"] == len(answers)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_reference_is_wholly_known(case: Path) -> None:
    reference = str(case / "gt.py")
    assert main(["compare", reference, reference, "--json"]) == 0


def test_there_are_at_least_forty_pairs_over_five_levels() -> None:
    levels = collections.Counter(case.name[0] for case in CASES)
    assert len(CASES) >= 40
    assert set(levels) == set("12345")


def test_right_and_wrong_pairs_stand_in_every_level() -> None:
    outcomes = {
        (case.name[0], json.loads((case / "expected.json").read_text())["exit_code"])
        for case in CASES
    }
    assert {(level, code) for level in "12345" for code in (0, 1)} <= outcomes
