"""Model folders that are the trained miniature with one thing changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.models.sources import local_source

UNET = "diffusion_pytorch_model"
Change = Callable[[Path], object]


def shapes(folder: Path, *changes: Change, weights: str = "sd15") -> Path:
    """Copy the miniature to a folder, change it there, and return the folder."""
    shutil.copytree(local_source(f"package:shapes/weights/{weights}"), folder)
    for change in changes:
        change(folder)
    return folder


def config(part: str, drop: tuple[str, ...] = (), **values: Any) -> Change:
    """Return what changes keys of a part's configuration; of the index, where the part is empty."""
    names = {"": "model_index.json", "scheduler": "scheduler/scheduler_config.json"}
    name = names.get(part, f"{part}/config.json")

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | values
        kept = {key: value for key, value in content.items() if key not in drop}
        (folder / name).write_text(json.dumps(kept))

    return change


def without(part: str) -> Change:
    """Return what leaves a part out, as ``save_pretrained`` does of a pipeline without it."""

    def change(folder: Path) -> None:
        config("", **{part: [None, None]})(folder)
        shutil.rmtree(folder / part, ignore_errors=True)

    return change


def renamed(part: str, name: str) -> Change:
    """Return what gives a part's one file of weights another name."""

    def change(folder: Path) -> None:
        (file,) = (folder / part).glob("*.safetensors")
        file.rename(file.with_name(name))

    return change


def written(name: str, content: bytes) -> Change:
    """Return what writes a file."""
    return lambda folder: (folder / name).write_bytes(content)


def black(folder: Path) -> None:
    """Let the autoencoder decode everything to black."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(folder / "vae")
    vae.decoder.conv_out.weight.data.zero_()
    vae.decoder.conv_out.bias.data.fill_(-5.0)
    vae.save_pretrained(folder / "vae")
