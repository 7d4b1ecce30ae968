"""The examples of README and docs/ are run as a reader would run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
WORKER = ROOT / "docs/write-a-worker.md"


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's code blocks in a language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE
    )


def the_block(page: Path, language: str, holding: str) -> str:
    (found,) = [block for block in blocks(page, language) if holding in block]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reader's folder, on a machine without GPUs."""
    (tmp_path / "no nvml").mkdir()
    (tmp_path / "no nvml/libnvidia-ml.so.1").touch()  # found first by the loader, and no library
    return tmp_path


def scheduler(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scheduler", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(folder / "no nvml")},
        capture_output=True,
        text=True,
    )


def done(folder: Path, task: str) -> dict:
    return json.loads((folder / f"checkpoints/lr/{task}.done").read_text())


def test_six_lines_sweep_over_ones_own_script(folder: Path) -> None:
    sweep = the_block(README, "yaml", "lr: [0.1, 0.01]")
    assert len(sweep.splitlines()) == 6
    (folder / "lr.yaml").write_text(sweep)
    (folder / "train.py").write_text(
        'import sys; print(sys.argv[1:]); print("Successfully completed")'
    )
    ended = scheduler(folder, "lr.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "6 of 6 completed" in ended.stdout
    log = (folder / "logs/lr/0.01_3.log").read_text()
    assert log.startswith("['--lr', '0.01', '--seed', '3']")


def test_a_worker_in_a_line_of_shell(folder: Path) -> None:
    (folder / "lr.yaml").write_text(the_block(WORKER, "yaml", "sh, -c"))
    (folder / "train.py").write_text("import sys; print('lr', sys.argv[2])")
    ended = scheduler(folder, "lr.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (folder / "logs/lr/0.001.log").read_text() == "lr 0.001\nSuccessfully completed\n"


def a_worker_that_goes_on(folder: Path, rates: str) -> None:
    sweep = the_block(WORKER, "yaml", "command: [python, train.py]")
    (folder / "lr.yaml").write_text(sweep.replace("[0.1, 0.5, 1.5]", rates))
    (folder / "train.py").write_text(the_block(WORKER, "python", "SWEEP_SPEC"))


def test_a_worker_that_goes_on_where_it_was(folder: Path) -> None:
    a_worker_that_goes_on(folder, "[0.1, 0.5, 1.5]")
    before = [{"epoch": epoch, "slope": 2.5, "error": 0.5} for epoch in range(3)]
    results = folder / "checkpoints/lr/0.5.jsonl"
    results.parent.mkdir(parents=True)
    results.write_text("".join(json.dumps(row) + "\n" for row in before) + '{"epoch": 3, "slo')
    ended = scheduler(folder, "lr.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    *rows, summary = (json.loads(line) for line in results.read_text().splitlines())
    assert rows[:3] == before
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[3]["slope"] == 2.75
    assert done(folder, "0.5")["slope"] == summary["summary"]["slope"] == 2.875
    log = (folder / "logs/lr/0.5.log").read_text()
    assert "epoch 3" in log
    assert "epoch 2" not in log


def test_its_exit_status_says_that_a_retry_cannot_help(folder: Path) -> None:
    a_worker_that_goes_on(folder, "[-1]")
    ended = scheduler(folder, "lr.yaml")
    assert ended.returncode == 1
    failed = json.loads((folder / "checkpoints/lr/-1.failed").read_text())
    assert len(failed["attempts"]) == 1
    assert failed["verdict"] == "wrong code"


def test_the_front_page_holds_the_figures_that_were_measured() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "benchmarks/front_page.py"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout in README.read_text()
