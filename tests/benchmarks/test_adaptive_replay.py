"""The replay on a made-up recording: every search comes to an end, and the table tells of each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROMPTS = 128


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Return a folder with a grid of 40 in which the fastest lose most."""
    generator = np.random.default_rng(0)
    strength = np.linspace(0, 1, 40)
    baseline = generator.normal(90, 3, PROMPTS)
    lost = 0.1 * strength[:, None] ** 3 + generator.normal(0, 0.01, (40, PROMPTS))
    configurations = [{"label": "baseline", "role": "baseline"}]
    configurations += [{"label": f"c{number}", "role": "candidate"} for number in range(40)]
    for number, item in enumerate(configurations):
        values = {"deepcache": {"cache_interval": number}} if number else {}
        item |= {"configuration": {"accelerators": values}, "status": "recorded"}
    told = json.dumps({"about": {}, "configurations": configurations}).encode()
    speedups = np.concatenate([[1.0], 1 + 2 * strength])
    np.savez_compressed(
        tmp_path / "MADE_UP.npz",
        told=np.frombuffer(told, dtype=np.uint8),
        scores=np.vstack([baseline, baseline * (1 - lost)]).astype(np.float32),
        psnr=np.zeros((41, PROMPTS), np.float16),
        seconds=1 / speedups[:, None],
        baseline_seconds=np.ones((41, 1)),
    )
    return tmp_path


def replay(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/adaptive_replay.py", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_adaptive_search_finds_the_frontier_and_the_best(recordings):
    done = replay("--recordings", str(recordings), "--seeds", "3", "--alone")
    assert done.returncode in {0, 1}, done.stderr
    line, _ = [line for line in done.stdout.splitlines() if line.startswith("| adaptive")]
    volume, *reached = (float(cell.split("%")[0]) for cell in line.split("|")[3:8])
    assert volume > 97
    assert min(reached) == 100


def test_without_recordings_it_says_who_makes_them(tmp_path):
    done = replay("--recordings", str(tmp_path))
    assert done.returncode == 2
    assert "record_grid.py makes them" in done.stdout
