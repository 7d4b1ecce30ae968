"""The section on searches: decisions, why they stopped, both figures of the chosen one; hostile ones too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import main
from scheduler.report.searches.decisions import in_words, searched_of

HOSTILE = "</td></details><script>document.title='taken'</script>\u202e\x1b[2J{{ 7*7 }}"


def dropped(label: str, why: str, images: int) -> dict[str, Any]:
    return {"what": "dropped", "label": label, "prompts": 8, "why": why, "images": images}


DECISIONS = [
    {"what": "asked", "why": "the speed of 3 configurations", "images": 0},
    dropped("ToMe 0.5/2", "0.93×: not told to be faster than the baseline", 216),
    dropped(HOSTILE, HOSTILE, 240),
    {"what": "stopped", "why": "the budget of 7200 s is spent", "images": 240},
]
SEARCH = {
    "strategy": "adaptive",
    "wanted": "the fastest within a loss of 5%",
    "stopped": "the budget of 7200 s is spent",
    "next": "DeepCache 2/0 on prompts 33 to 128",
    "accelerators": {"deepcache": {"cache_interval": 2}},
    "chosen": {"label": "DeepCache 2/0", "searched": "2.12×, loss 1.1%", "confirmed": "2.01×, loss 1.4%"},
}  # fmt: skip
SUMMARY = {"best": "DeepCache 2/0", "images_generated": 312, "search": SEARCH}


def test_the_keys_are_the_workers_own() -> None:
    lines = [{"decisions": [{"step": 1}, {"step": 2, "lr": 1e-4, "kept": True, HOSTILE: None}]}]
    found = searched_of("a", lines)
    assert found is not None
    assert found.keys == ["step", "lr", "kept", HOSTILE]
    assert found.decisions == [["1", "", "", ""], ["2", "0.0001", "yes", ""]]
    assert not found.facts


def test_the_newest_search_counts_with_the_summary_behind_it() -> None:
    older = [{"decisions": DECISIONS[:1]}, {"summary": SUMMARY}]
    found = searched_of("a", [*older, {"decisions": DECISIONS}])
    assert found is not None
    assert (len(found.decisions), found.facts) == (4, {})
    found = searched_of("a", [*older, {"decisions": DECISIONS}, {"summary": SUMMARY}])
    assert found is not None
    assert found.facts["next"] == SEARCH["next"]
    assert found.facts["images generated"] == "312"
    assert found.facts["accelerators"] == "deepcache: (cache_interval: 2)"


@pytest.mark.parametrize(
    "lines",
    [[], [{"summary": SUMMARY}], [{"decisions": 7}], [{"decisions": [1, None]}], [{"decisions": {}}]],
)  # fmt: skip
def test_no_decisions_are_no_section(lines: list[dict[str, Any]]) -> None:
    assert searched_of("a", lines) is None


def test_of_very_many_decisions_the_last_are_shown() -> None:
    found = searched_of("a", [{"decisions": [{"what": n} for n in range(5_000)]}])
    assert found is not None
    assert (found.decisions[-1], len(found.decisions) + found.earlier) == (["4999"], 5_000)
    assert found.earlier == 4_000
    assert len(in_words("x" * 10_000)) < 3_000


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
    sweep = {"worker": {"command": ["true", "{task}"]}, "matrix": {"t": ["a", "b"]}}
    (tmp_path / "one.yaml").write_text(json.dumps(sweep))
    results = tmp_path / "checkpoints" / "one"
    results.mkdir(parents=True)
    row = {
        "label": "baseline",
        "role": "baseline",
        "metrics": [{"name": "clip_score", "value": 30}],
    }
    lines = [row, {"decisions": DECISIONS}, {"summary": SUMMARY}]
    (results / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (results / "b.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["report", "one.yaml"]) == 0
    page = tmp_path / "one-report.html"
    assert not {"\u202e", "\x1b"} & set(page.read_text().partition("<script>")[0])
    tab.set_viewport_size({"width": width, "height": 900})
    tab.emulate_media(color_scheme=scheme)
    tab.goto(page.as_uri())
    assert tab.title() == "Report: one"
    section = tab.locator("section:has(#h-searches)")
    (told,) = section.locator("details").all()  # b was measured as a grid
    assert "one/a: 4 decisions; the budget of 7200 s is spent" in told.inner_text()
    facts = dict(line.split("\t") for line in told.locator("table").first.inner_text().split("\n"))
    assert facts["next"] == SEARCH["next"]
    assert facts["chosen"] == (
        "label: DeepCache 2/0; searched: 2.12×, loss 1.1%; confirmed: 2.01×, loss 1.4%"
    )
    log = told.locator(".decisions")
    assert log.locator("th").all_inner_texts() == ["what", "label", "prompts", "why", "images"]
    cells = [line.split("\t") for line in log.locator("tbody tr").all_inner_texts()]
    assert cells[1] == ["dropped", "ToMe 0.5/2", "8", DECISIONS[1]["why"], "216"]
    assert "document.title='taken'" in cells[2][1]
    assert "{{ 7*7 }}" in cells[2][3]
    assert cells[3][0] == "stopped"
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe(tab) == []
