"""`python -m scheduler report`: its files, and the page in a real browser."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import main

pytest.importorskip("plotly", reason="reports are drawn with plotly")
HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"
)


def row(
    label: str, speedup: float, loss: float, spread: float, unsure: float = 0.01, **more: Any
) -> dict[str, Any]:
    def metric(name: str, value: float, half: float, better: str | None) -> dict[str, Any]:
        return {
            "name": name,
            "value": value,
            "low": value - half,
            "high": value + half,
            "better": better,
        }

    metrics = [metric("clip_score", 30.0, 0.1, "higher")]
    if label != "baseline":
        metrics.append(metric("speedup", speedup, unsure, "higher"))
        metrics.append(metric("quality_loss", loss, spread, "lower"))
        metrics.append({"name": "images_scored", "value": 32})
    accelerators = {"tome": {"ratio": speedup / 10}} if label != "baseline" else {}
    role = "baseline" if label == "baseline" else "candidate"
    return {
        "label": label,
        "role": role,
        "metrics": metrics,
        "configuration": {"accelerators": accelerators},
        **more,
    }


ROWS = [
    row("baseline", 1.0, 0.0, 0.0),
    row("safe", 1.5, 0.002, 0.001, reproduce={"command": "python -m worker search"}),
    row("fast", 2.5, 0.03, 0.005),
    row("open" + HOSTILE, 3.0, 0.05, 0.04),
]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sweep = {"worker": {"command": ["true", "{task}"]}, "matrix": {"t": ["a"]}}
    (tmp_path / "one.yaml").write_text(json.dumps(sweep))
    (tmp_path / "checkpoints" / "one").mkdir(parents=True)
    (tmp_path / "checkpoints" / "one" / "a.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in ROWS)
    )
    assert main(["report", "one.yaml"]) == 0
    return tmp_path / "one-report.html"


def test_one_small_file_and_tables_beside_it(report: Path) -> None:
    page = report.read_text()
    assert len(page.encode()) < 8e6
    assert HOSTILE not in page
    with report.with_suffix(".csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(one["quality_loss"] or 0) for one in rows] == [0.0, 0.002, 0.03, 0.05]
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow writes Parquet")
    assert parquet.read_table(report.with_suffix(".parquet")).num_rows == len(ROWS)


def test_without_room_the_old_files_stay(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.read_bytes() for file in report.parent.glob("one-report.*")}
    assert report in before
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        assert main(["report", "one.yaml"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = capsys.readouterr().err
    assert "one-report.html cannot be written: File too large" in told
    assert told.count("\n") == 1
    assert {file: file.read_bytes() for file in report.parent.glob("*one-report.*")} == before


def test_a_folder_in_its_place_stays(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (report.parent / "taken.html").mkdir()
    assert main(["report", "one.yaml", "--output", "taken.html"]) == 2
    assert "taken.html cannot be written: a folder of that name is there" in capsys.readouterr().err
    assert (report.parent / "taken.html").is_dir()


def test_a_fifo_where_a_link_leads_stays(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(report.parent / "fifo")
    (report.parent / "link.html").symlink_to("fifo")
    assert main(["report", "one.yaml", "--output", "link.html"]) == 2
    assert "link.html cannot be written: a FIFO of that name is there" in capsys.readouterr().err
    assert (report.parent / "fifo").is_fifo()


def test_rows_of_a_large_file_are_not_lost(report: Path) -> None:
    """A file of results grows with what was measured; of a checkpoint 16 MiB are too many."""
    with (report.parent / "checkpoints" / "one" / "a.jsonl").open("a") as file:
        file.writelines(" " * (1 << 20) + "\n" for _ in range(17))
    assert main(["report", "one.yaml", "--output", "large.html"]) == 0
    assert (report.parent / "large.csv").read_text() == report.with_suffix(".csv").read_text()


def test_another_workers_rows_make_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Path
) -> None:
    rows = [{"label": f"sleep {n}", "metrics": [{"name": "seconds", "value": n}]} for n in (1, 2)]
    file = tmp_path / "checkpoints" / "one" / "a.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert main(["report", "one.yaml", "--output", "other.html"]) == 0
    assert "sleep 2" in (tmp_path / "other.html").read_text()


def test_its_answer_is_that_of_results_under_every_bound(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser_path = shutil.which("chromium")
    if browser_path is None:
        pytest.skip("no chromium is installed")
    rows = [
        *ROWS,
        row("perhaps faster", 1.8, 0.004, 0.002, unsure=0.9),
        row("slower", 0.8, 0.004, 0.01),
        row("just as fast", 1.005, 0.01, 0.02),
    ]
    file = report.parent / "checkpoints" / "one" / "a.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert main(["report", "one.yaml"]) == 0
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(report.as_uri())
        for percent in ("0", "0.4", "0.7", "1.1", "2.7", "3.7", "9.1", "20"):
            capsys.readouterr()
            assert main(["results", "one.yaml", "--json", "--max-loss", f"{percent}%"]) == 0
            [told] = json.loads(capsys.readouterr().out)["tasks"]
            page.fill("#loss", percent)
            words = page.inner_text("#answer")
            sure, _, undecided = words.partition("Cannot tell yet: ")
            assert undecided == (", ".join(told["undecided"]) + "." if undecided else ""), percent
            assert bool(undecided) == bool(told["undecided"]), percent
            named = told["within"] and told["best"] != "baseline"
            assert (f": {told['best']}, " in sure) == named, percent
        browser.close()


@pytest.mark.parametrize("width, scheme", [(360, "dark"), (800, "light"), (1400, "dark")])
def test_the_page_in_a_browser(report: Path, axe: Any, width: int, scheme: Any) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser_path = shutil.which("chromium")
    if browser_path is None:
        pytest.skip("no chromium is installed")
    told: list[str] = []
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on(
            "console",
            lambda message: told.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: told.append(request.url))
        page.goto(report.as_uri())
        assert page.title() == "Report: one"
        page.fill("#loss", "1")
        assert "safe, 1.50× [1.49×, 1.51×]" in page.inner_text("#answer")
        assert "python -m worker search" in page.inner_text("#reproduce")
        page.fill("#loss", "4")
        assert "fast, 2.50×" in page.inner_text("#answer")
        assert "Cannot tell yet: open" in page.inner_text("#answer")
        symbols = page.evaluate(
            "document.getElementById('points').data.map((t) => t.marker?.symbol)"
        )
        assert {"circle", "diamond-open"} <= set(symbols)
        assert page.locator("#parallel .scatterlayer path.js-line").count() == 3  # candidates
        assert "WebGL" not in page.inner_text("body")
        page.fill("#words", "safe")
        assert page.locator("#rows tbody tr").count() == 1
        page.fill("#words", "")
        page.uncheck("#accelerators input")
        assert page.locator("#rows tbody tr").count() == 1  # the baseline
        page.check("#accelerators input")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert axe(page) == []
        page.screenshot(path=str(report.with_suffix(".png")), full_page=True)
        browser.close()
    assert [one for one in told if not one.startswith(("data:", "blob:"))] == [report.as_uri()]
