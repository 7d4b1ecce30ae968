"""A recorded grid: complete, resumed behind what is there, and scored as open_clip would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import record_grid
from worker.metrics.clip import ClipScorer, scores

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def record(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = ["benchmarks/record_grid.py", "--tiny", "--only", "SHAPES_SDXL", "--out", str(out)]
    return subprocess.run(
        [sys.executable, *words, "--steps", "4", "--prompts", "4", *more],
        cwd=REPOSITORY,
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("recordings")
    done = record(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_a_grid_is_read_as_it_was_recorded(recorded):
    read = record_grid.read(recorded / "SHAPES_SDXL.npz")
    lines = [json.loads(line) for line in (recorded / "SHAPES_SDXL.jsonl").open()]
    assert [item["label"] for item in read.configurations] == [item["label"] for item in lines]
    assert read.configurations[0]["role"] == "baseline"
    np.testing.assert_allclose(read.scores, [item["scores"] for item in lines], rtol=1e-6)
    assert (read.psnr[0] == 100).all()
    assert (read.speedups > 0).all()
    assert read.about["seconds"] == "wall"


def test_without_time_nothing_is_recorded_and_a_later_call_goes_on(recorded, tmp_path):
    lines = (recorded / "SHAPES_SDXL.jsonl").read_bytes().splitlines(keepends=True)
    file = tmp_path / "SHAPES_SDXL.jsonl"
    # killed while it wrote the last one
    file.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    assert record(tmp_path, "--seconds", "1").returncode == record_grid.NOT_ALL
    assert not (tmp_path / "SHAPES_SDXL.npz").exists()
    done = record(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(lines) - 1} recorded" in done.stdout
    assert file.read_bytes().startswith(b"".join(lines[:-1]))
    read = record_grid.read(tmp_path / "SHAPES_SDXL.npz")
    assert len(read.configurations) == len(lines)


def test_the_scorer_is_the_one_that_open_clip_loads():
    captions = ["a small red circle on a white background", "a large blue star above a ring"]
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ours = record_grid.Scorer("cpu")
    theirs = ClipScorer("package:shapes/weights/scorer", "", "cpu")
    torch.testing.assert_close(ours.encode(captions), theirs.encode(captions), rtol=0, atol=1e-5)
    expected = scores(theirs.embed(images), theirs.encode(captions))
    assert scores(ours.embed(images), ours.encode(captions)) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("pipe", record_grid.PIPES)
def test_a_full_grid_holds_150_configurations_and_combinations(pipe, tmp_path):
    arguments = record_grid.argparse.Namespace(out=tmp_path, tiny=False, prompts=512, steps=20)
    wanted = record_grid.Recorder(pipe, arguments, "cpu").wanted
    assert len(wanted) >= 150
    assert sum(len(item.accelerators) > 1 for item in wanted) >= 60
