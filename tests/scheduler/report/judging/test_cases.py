"""The section on judged cases: pass rates, wrong fields, both files; hostile ones too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import main
from scheduler.report.judging.cases import Judged, case_of

HOSTILE = "</pre></details><script>document.title='taken'</script>\u202e\x1b[2J"


def judged(name: str, passed: bool | None, **verdict: Any) -> dict[str, Any]:
    achieved = {"name": "achievement", "value": 1.0 if passed else 0.25, "better": "higher"}
    told = {"level": name[0], "stage": "text", "passed": passed, "problem": None, "caveat": None}
    return {
        "label": name,
        "role": "candidate",
        "metrics": [achieved],
        "verdict": {**told, "mismatches": [], **verdict},
    }


STEPS = {"field": "steps", "expected": "50", "found": HOSTILE}
FILES = {"gt.py": "steps = 50", "gen.py": f"steps = '{HOSTILE}'"}
CASES = [
    judged("1-right", True, files=FILES),
    judged("1-open", None, caveat="by its own word alone"),
    judged("2-wrong", False, mismatches=["steps"], wrong=[STEPS], files=FILES),
]


def test_pass_rates_and_achievement_by_level() -> None:
    found = [case_of(one["label"], one["label"], one) for one in CASES]
    told = Judged.of([case for case in found if case is not None])
    first, second = told.levels
    assert (first.name, first.passed, first.failed, first.undecided) == ("1", 1, 0, 1)
    assert (first.rate, first.achievement) == (0.5, 0.625)
    assert (second.rate, second.achievement) == (0.0, 0.25)
    assert [case.name for case in told.cases] == ["1-open", "2-wrong", "1-right"]


def test_rows_of_earlier_versions_have_names_of_fields_alone() -> None:
    old = judged("3-old", False, mismatches=["steps", "dtype"])
    del old["verdict"]["level"]
    case = case_of("sweep/3-old", "3-old", old)
    assert case is not None
    assert (case.level, [one.field for one in case.wrong]) == ("3", ["steps", "dtype"])
    assert not case.files


def test_many_long_files_do_not_fill_the_page() -> None:
    files = {"gt.py": "x" * 20_000, "gen.py": "y" * 20_000}
    rows = [judged(f"1-{number:03}", False, files=files) for number in range(100)]
    cases = [case for one in rows if (case := case_of(one["label"], one["label"], one))]
    told = Judged.of(cases).cases
    letters = sum(len(text) for case in told for _, text in case.files)
    assert len(told) == 100
    assert 900_000 < letters <= 1_000_000


@pytest.mark.parametrize("verdict", [{"wrong": [7]}, {"files": [1]}, {"stage": [1]}])
def test_a_verdict_of_another_form_is_no_error(verdict: dict[str, Any]) -> None:
    case = case_of("a", "1-a", judged("1-a", False, **verdict))
    assert case is not None
    assert (case.wrong, list(case.files)) == ([], [])


@pytest.mark.parametrize("width, scheme", [(360, "light"), (1400, "dark")])
def test_the_section_in_a_browser(
    tab: Any,
    axe: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    scheme: str,
) -> None:
    pytest.importorskip("plotly", reason="reports are drawn with plotly")
    monkeypatch.chdir(tmp_path)
    names = [one["label"] for one in CASES]
    sweep = {"worker": {"command": ["true", "{case}"]}, "matrix": {"case": names}}
    (tmp_path / "check.yaml").write_text(json.dumps(sweep))
    results = tmp_path / "checkpoints" / "check"
    results.mkdir(parents=True)
    for one in CASES:
        (results / f"{one['label']}.jsonl").write_text(json.dumps(one) + "\n")
    assert main(["report", "check.yaml"]) == 0
    page = (tmp_path / "check-report.html").read_text()
    assert not {"\u202e", "\x1b"} & set(page.partition("<script>")[0])
    tab.set_viewport_size({"width": width, "height": 900})
    tab.emulate_media(color_scheme=scheme)
    tab.goto((tmp_path / "check-report.html").as_uri())
    assert tab.title() == "Report: check"
    assert tab.locator("#levels tbody tr").all_inner_texts() == [
        "1\t1 of 2\t 50\xa0%\t0\t1\t0.62",
        "2\t0 of 1\t 0\xa0%\t1\t0\t0.25",
    ]
    assert not tab.is_visible("#answer")
    wrong = tab.locator("details.case:has-text('check/2-wrong')")
    wrong.locator("summary").focus()
    tab.keyboard.press("Enter")
    assert wrong.locator("tbody th").all_inner_texts() == ["steps"]
    left, right = wrong.locator(".sides pre").all()
    assert left.inner_text() == "steps = 50"
    assert "document.title='taken'" in right.inner_text()
    beside = left.bounding_box()["y"] == right.bounding_box()["y"]
    assert beside == (width > 800)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe(tab) == []
