"""The docs' picture of a report: python benchmarks/report_picture.py docs/report.png

It is of benchmarks/front-page-results, the recorded rows of both miniatures (64 prompts each), under a bound
of 5 %. It needs the extras `report` and `test`, and a chromium on the path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        page = report_in(Path(folder))
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": 1000, "height": 1620})
        tab.goto(page.as_uri())
        tab.select_option("#task", label="SHAPES_SDXL")
        tab.fill("#loss", "5")
        tab.screenshot(path=sys.argv[1])
        browser.close()


def report_in(box: Path) -> Path:
    results = sorted((HERE / "front-page-results").glob("*.jsonl"))
    worker = {"command": [sys.executable, "-m", "worker", "search", "--pipe", "{pipe}"]}
    sweep = {"worker": worker, "matrix": {"pipe": [file.stem for file in results]}}
    (box / "miniatures.yaml").write_text(json.dumps(sweep))
    checkpoints = box / "checkpoints" / "miniatures"
    checkpoints.mkdir(parents=True)
    for file in results:
        shutil.copy(file, checkpoints)
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, "-m", "scheduler", "report", "miniatures.yaml"]
    subprocess.run(command, cwd=box, env=environment, check=True, stdout=subprocess.DEVNULL)
    return box / "miniatures-report.html"


if __name__ == "__main__":
    main()
