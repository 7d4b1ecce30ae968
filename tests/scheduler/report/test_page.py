"""The page over several boxes, of another worker's rows, with texts that mean harm; in a real browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import main
from scheduler.core.journal_events import (
    AttemptEnded,
    AttemptFailed,
    AttemptStarted,
    DispatcherStarted,
    Entry,
    JournalEvent,
)
from scheduler.core.snapshot import ListedDevice
from scheduler.storage.journal import _as_line

pytest.importorskip("plotly", reason="reports are drawn with plotly")
Row = dict[str, Any]
HOSTILE = "</script><img src=x onerror=document.title='taken'>\"'&\u202egnp\x1b[2J\x07{{ 7*7 }}"


def metric(name: str, value: float, half: float, better: str = "higher") -> Row:
    return {"name": name, "value": value, "low": value - half, "high": value + half} | {
        "better": better
    }


def row(label: str, speedup: float = 1.0, loss: float = 0.0, **more: Any) -> Row:
    metrics = [metric("clip_score", 30.0 - loss, 0.1)]
    if label != "baseline":
        metrics += [metric("speedup", speedup, 0.01), metric("quality_loss", loss, 0.001, "lower")]
        metrics.append({"name": "images_scored", "value": 64})
    return {
        "label": label,
        "role": "baseline" if label == "baseline" else "candidate",
        "metrics": metrics,
        "configuration": {},
        **more,
    }


def box(folder: Path, tasks: dict[str, Sequence[Row]], device: str = "a GPU") -> Path:
    """Write a sweep file, and what was measured of its tasks; return the file."""
    checkpoints = folder / "checkpoints" / "one"
    checkpoints.mkdir(parents=True)
    sweep = {"worker": {"command": ["true", "{task}"]}, "matrix": {"t": list(tasks)}}
    (folder / "one.yaml").write_text(json.dumps(sweep))
    for task, rows in tasks.items():
        lines = [json.dumps({**one, "environment": {"device": device}}) for one in rows]
        (checkpoints / f"{task}.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "one.yaml"


def journal(folder: Path, *events: tuple[float, JournalEvent]) -> None:
    path = folder / "logs" / "one" / "journal.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(_as_line(Entry(at, event)) for at, event in events))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def traces(tab: Any, plot: str = "points") -> dict[str, Row]:
    names = "(id) => document.getElementById(id).data.map((t) => ({name: t.name, x: t.x, y: t.y}))"
    return {one["name"]: one for one in tab.evaluate(names, plot)}


def test_two_boxes_with_sweeps_of_one_name(tab: Any, tmp_path: Path) -> None:
    box(tmp_path / "left", {"a": [row("baseline"), row("fast", 2.0, 0.01)]}, "NVIDIA H100")
    box(tmp_path / "right", {"a": [row("baseline"), row("fast", 3.0, 0.01)]}, "NVIDIA H200")
    assert main(["report", "left/one.yaml", "right/one.yaml"]) == 0
    tab.goto((tmp_path / "sweeps-report.html").as_uri())
    words = tab.inner_text("#answer")
    assert "one (left, NVIDIA H100)/a: fast, 2.00×" in words
    assert "one (right, NVIDIA H200)/a: fast, 3.00×" in words
    tab.select_option("#task", label="all tasks")
    assert "NVIDIA H200" in tab.inner_text("#rows")
    assert "2 tasks" not in tab.inner_text("body")  # each environment has one


def test_the_frontier_across_tasks_stands_beside_each_ones_own(tab: Any, tmp_path: Path) -> None:
    fewer = {"role": "control", "configuration": {"steps": 10}}
    tasks = {
        "a": [row("baseline"), row("slow", 1.5, 0.01), row("fast", 2.0, 0.03)],
        "b": [row("baseline"), row("good", 1.8, 0.005), row("bad", 2.5, 0.06)],
    }
    for number, rows in enumerate(tasks.values()):
        rows += [row("10 steps", 1.4 + number, 0.02, **fewer), row("8 steps", 1.9, 0.04, **fewer)]
    box(tmp_path, tasks)
    assert main(["report", "one.yaml"]) == 0
    tab.goto((tmp_path / "one-report.html").as_uri())
    tab.select_option("#task", label="all tasks")
    drawn = traces(tab)
    across = drawn["frontier across tasks"]
    assert across["y"] == sorted(across["y"])
    assert 1.5 not in across["y"], "another task is faster at less loss"
    assert 1.5 in drawn["frontier of each task"]["y"]
    assert drawn["fewer steps"]["x"] == [0.02, 0.04, None, 0.02, 0.04]
    tab.select_option("#task", label="a")
    assert {"frontier", "fewer steps"} <= traces(tab).keys()


def test_another_workers_single_metric_is_drawn_and_ranked(tab: Any, tmp_path: Path) -> None:
    naps = [{"label": f"nap {n}", "metrics": [metric("seconds", n, 0.1, "lower")]} for n in (2, 1)]
    box(tmp_path, {"a": naps})
    assert main(["report", "one.yaml"]) == 0
    tab.goto((tmp_path / "one-report.html").as_uri())
    assert "best by seconds (lower is better): nap 1, 1 [0.9, 1.1]" in tab.inner_text("#answer")
    [drawn] = traces(tab).values()
    assert (drawn["x"], drawn["y"]) == (["nap 2 ", "nap 1 "], [2, 1])
    heads = tab.locator("#rows th").all_inner_texts()
    assert any(head.startswith("seconds") for head in heads)


def test_how_the_run_went(tab: Any, tmp_path: Path) -> None:
    disturbed = {"waited for a core": {"retaken": 3, "kept": 1}}
    box(tmp_path, {"a": [row("baseline"), row("fast", 2.0, disturbed=disturbed)], "b": []})
    listed = [ListedDevice("cpu:0", "", "cpu:0")]
    devices = ("cpu:0",)
    journal(
        tmp_path,
        (1.0e9, DispatcherStarted(7, 8, 2, listed, "1 slot")),
        (1.0e9, AttemptStarted("a", 1, devices, 1.0e9)),
        (1.0e9, AttemptEnded("a", 1, devices, 1.0e9 + 60, 0)),
        (1.0e9, AttemptStarted("b", 1, devices, 1.0e9 + 160)),
        (1.0e9, AttemptEnded("b", 1, devices, 1.0e9 + 200, 1)),
        (1.0e9, AttemptFailed("b", 1, devices, "failed", HOSTILE, 40.0)),
        (1.0e9 + 250, DispatcherStarted(9, 8, 2, listed, "1 slot")),
        (1.0e9 + 260, AttemptStarted("b", 2, devices, 1.0e9 + 260)),
    )
    assert main(["report", "one.yaml"]) == 0
    tab.goto((tmp_path / "one-report.html").as_uri())
    gaps = tab.locator("table:has-text('remark') tbody tr").all_inner_texts()
    assert gaps == [
        "cpu:0\t100\t2001-09-09 01:47:40\t2001-09-09 01:49:20\t",
        "cpu:0\t60\t2001-09-09 01:50:00\t2001-09-09 01:51:00\ta dispatcher was started meanwhile",
    ]
    assert "waited for a core: 3 retaken, 1 kept" in tab.inner_text("body")
    tab.click("summary:has-text('Attempts that failed: 1')")
    assert "attempt 1 on cpu:0" in tab.inner_text("body")


def test_hostile_texts_are_texts(tab: Any, tmp_path: Path) -> None:
    rows = [
        row("baseline"),
        row(HOSTILE, 2.0, 0.01, status=HOSTILE, disturbed={HOSTILE: {"retaken": 0, "kept": 1}}),
        row("fast", 1.5, 0.01, configuration={"accelerators": {HOSTILE: {HOSTILE: 3}}}),
        row("__proto__", 1.2, 0.01, reproduce={"command": HOSTILE}),
    ]
    rows[1]["metrics"].append({"name": HOSTILE, "value": 1})
    rows[2]["metrics"].append({"name": "__proto__", "value": 1})
    box(tmp_path, {"a": rows}, HOSTILE)
    started = AttemptStarted("a", 1, (HOSTILE,), 1.0e9)
    failed = AttemptFailed("a", 1, (HOSTILE,), "failed", HOSTILE, 4.0)
    journal(tmp_path, (1.0e9, started), (1.0e9, failed))
    assert main(["report", "one.yaml"]) == 0
    page = tmp_path / "one-report.html"
    assert not {"\u202e", "\x1b", "\x07"} & set(page.read_text().partition("<script>")[0])
    tab.goto(page.as_uri())
    assert tab.title() == "Report: one"
    for choice in ("__proto__", CLEAN):
        tab.select_option("#y", choice)
        assert len(traces(tab)) == 1
    tab.select_option("#y", "speedup")
    tab.select_option("#x", "configuration")
    assert any("__proto__ " in one["x"] for one in traces(tab).values())
    point = tab.locator("#points .points path").first
    point.hover(force=True)
    tab.wait_for_selector("#points .hoverlayer text")
    assert tab.locator("img").count() == 0
    words = tab.inner_text("body")
    assert CLEAN in words
    assert "{{ 7*7 }}" in words
    assert "\u202e" not in words


CLEAN = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in HOSTILE)


def test_the_table_is_sorted_by_the_keyboard(tab: Any, tmp_path: Path) -> None:
    rows = [row("baseline"), row("b", 1.5, 0.01), row("a", 2.0, 0.02), row("c", 1.2, 0.03)]
    box(tmp_path, {"a": rows})
    assert main(["report", "one.yaml"]) == 0
    tab.goto((tmp_path / "one-report.html").as_uri())

    def labels() -> list[str]:
        return tab.locator("#rows tbody td:nth-child(2)").all_inner_texts()

    assert labels() == ["a", "b", "c", "baseline"], "the fastest first, what has no value last"
    tab.focus("#rows th:nth-child(4) button")
    tab.keyboard.press("Enter")
    assert labels() == ["c", "b", "a", "baseline"]
    assert tab.get_attribute("#rows th:nth-child(4)", "aria-sort") == "ascending"
    tab.keyboard.press("Shift+Tab")
    tab.keyboard.press("Shift+Tab")
    tab.keyboard.press("Space")
    assert labels() == ["a", "b", "baseline", "c"]
