"""A model by its hub id is looked at once it is loaded, by the same rules as a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.model_folders import UNET, Change, config, renamed, shapes

PROGRAM = """
import sys
import torch
from worker.errors import WorkerError
from worker.models.catalogue import find_pipe, find_sched
from worker.models.loading import load_pipeline

for name in sys.argv[1:]:
    try:
        pipeline = load_pipeline(
            find_pipe("SHAPES_SD15"), find_sched("PNDM"), source=f"own/{name}",
            weights="pretrained", device="cpu", dtype=torch.float32,
        )
        print(f"{name}: loaded, {pipeline.unet.dtype}")
    except WorkerError as error:
        print(f"{name}: {error.exit_code} {error}")
"""
KINDS: dict[str, tuple[Change, str]] = {
    "half": (renamed("unet", f"{UNET}.fp16.safetensors"), "loaded, torch.float32"),
    "inpaint": (config("unet", in_channels=9), "2 own/inpaint is no SHAPES_SD15: its UNet takes 9"),
    "small": (config("unet", sample_size=8), "2 own/small is made for images of 32 pixels"),
    "zero": (config("scheduler", rescale_betas_zero_snr=True), "2 the model was trained with"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each kind, and of one that the hub's cache has not."""
    home: Path = tmp_path_factory.mktemp("hub")
    for name, (change, _) in KINDS.items():
        repository = home / f"hub/models--own--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs/main").write_text("0123")
        shapes(repository / "snapshots/0123", change)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *KINDS, "mispelt"],
        capture_output=True, text=True, check=True,
        env=os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, (_, words) in KINDS.items()])
def test_a_model_of_the_hub(said: dict[str, str], name: str, words: str) -> None:
    assert said[name].startswith(words)


def test_one_that_is_not_in_the_cache_may_come_later(said: dict[str, str]) -> None:
    assert said["mispelt"].startswith("75 the model own/mispelt is not in the local cache")
    assert "if it is misspelt, another hub id" in said["mispelt"]
