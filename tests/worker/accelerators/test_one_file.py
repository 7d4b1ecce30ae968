"""A method in one file of its own is swept, with no other file touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import worker

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/add-an-accelerator.md"
SECTION = {
    "configurations": [
        {"middle_skip": {"every": [1, 2, 3, 9]}},
        {"middle_skip": {"every": 2}, "tgate": {"gate_step": 2}},
        {"middle_skip": {"every": 2}, "deepcache": {"cache_interval": 2}},
    ],
    "controls": {"fewer_steps": [2], "guidance_off": [], "null_arm": False},
    "timing": {"repeats": 2, "warmup": 1, "block": 3},
}
LABELS = ["baseline", "2 steps", "MiddleSkip 2", "MiddleSkip 3", "MiddleSkip 9"]
LABELS += ["T-GATE 2 + MiddleSkip 2"]
TASK = ["--pipe", "TINY_SD15", "--sched", "DDIM", "--steps", "4"]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a copy of the package, and in it the file that the page shows."""
    folder = tmp_path_factory.mktemp("extended")
    package = Path(worker.__file__).parent
    shutil.copytree(package, folder / "worker", ignore=shutil.ignore_patterns("__pycache__"))
    (text,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (folder / "worker/accelerators/middle_skip.py").write_text(text)
    (folder / "search.yaml").write_text(json.dumps(SECTION))
    return folder


def run(folder: Path, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-m", "worker", *words],
        cwd=folder,  # what lies here is imported before what is installed
        env=environment | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        input=stdin,
        capture_output=True,
        text=True,
    )


def test_it_is_planned(extended: Path) -> None:
    done = run(extended, "plan", *TASK, "--search", "search.yaml")
    assert done.returncode == 0, done.stderr
    measured, _, left_out = done.stdout.partition("are left out:\n")
    # role, label, and beyond two spaces what it costs
    lines = [re.split("  +", line.strip()) for line in measured.splitlines() if line[:2] == "  "]
    assert [line[1] for line in lines] == LABELS
    assert lines[2][0] == "candidate"
    assert left_out.splitlines() == [
        "  MiddleSkip 1: with every 1 MiddleSkip leaves nothing out; so it is measured as 'baseline'",
        "  DeepCache 2/0 + MiddleSkip 2: DeepCache leaves the middle block out by itself: choose one"
        " of the two",
        "GPU-hours: not known: no measurement of TINY_SD15 in batches of 4 named (--measured FILE…)",
    ]


def test_it_is_tried_where_nothing_is_asked_for(extended: Path) -> None:
    done = run(extended, "plan", *TASK)
    assert any(line.startswith("  candidate  MiddleSkip 3 ") for line in done.stdout.splitlines())


def test_its_range_is_checked(extended: Path) -> None:
    section = {"configurations": [{"middle_skip": {"every": 0}}, {"middle_skip": {"evry": 2}}]}
    matrix = {"pipe": "TINY_SD15", "sched": "DDIM", "steps": 4}
    question = {"tasks": [{"id": "a", "matrix": matrix}], "args": {}, "search": section}
    problems = json.loads(run(extended, "check", stdin=json.dumps(question)).stdout)["problems"]
    assert {item["key"]: item["message"] for item in problems} == {
        "search.configurations.0.middle_skip.every": (
            "input should be greater than or equal to 1, found 0 or input should be a valid list,"
            " found 0"
        ),
        "search.configurations.1.middle_skip.every": "this key is required",
        "search.configurations.1.middle_skip.evry": "unknown key; did you mean every? Known: every",
    }


def test_it_is_measured_and_reported(extended: Path, model_cache: None) -> None:
    flags = ["--num-samples", "2", "--batch-size", "2", "--search", "search.yaml"]
    done = run(extended, "search", *TASK, *flags, "--results", "rows.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Successfully completed"
    *rows, last = [json.loads(line) for line in (extended / "rows.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == LABELS
    row = rows[LABELS.index("MiddleSkip 2")]
    assert row["role"] == "candidate"
    assert row["configuration"] == {"accelerators": {"middle_skip": {"every": 2}}}
    figures = {metric["name"]: metric["value"] for metric in row["metrics"]}
    assert figures["speedup"] > 0
    assert figures["psnr"] < 100, "its images are not the baseline's"
    summary = last["summary"]
    assert summary["bound"]["MiddleSkip 2"]["answer"] == "cannot tell yet"  # of two images
    assert "MiddleSkip 2" in summary["beats_fewer_steps"]
    judged = next(x for x in done.stdout.splitlines() if x.startswith("MiddleSkip 2: speed: "))
    assert "; loss within 5%: cannot tell yet" in judged
