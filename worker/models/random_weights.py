"""Build pipelines with random weights: the tiny ones, kept on disk, and any at its full size.

Weights drawn here are worth nothing as art. The machinery around them (patches, timing, memory,
resuming) is the same as with real ones, and nothing has to be downloaded.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from worker.errors import ConfigurationError
from worker.models.families.base import Components, Family
from worker.models.families.registry import buildable
from worker.types import Dtype, Pipeline

_SEED = 0
# changes whenever what is built changes, so that an older build is not mistaken for it
_EDITION = "1"


def cache_folder() -> Path:
    """Return the folder where built models are kept.

    ``DIFFUSION_SWEEPS_CACHE`` names it; by default it lies in the user's own cache.
    """
    chosen = os.environ.get("DIFFUSION_SWEEPS_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "diffusion-sweeps"


def tiny_pipeline(architecture: str) -> Path:
    """Return the folder of the tiny pipeline of that architecture, building it if need be.

    The folder is in diffusers' layout, its weights are safetensors, the same on every machine with
    the same torch.
    """
    return _built(
        f"tiny-{architecture}-{_EDITION}", lambda folder: _save_pipeline(architecture, folder)
    )


def tiny_clip() -> Path:
    """Return the folder of a tiny open_clip model with random weights, building it if need be."""
    return _built(f"tiny-clip-{_EDITION}", _save_clip)


def _built(name: str, build: Callable[[Path], None]) -> Path:
    """Return ``<cache>/<name>``; if there is none, let ``build`` fill it, once for all workers."""
    cache = cache_folder()
    folder = cache / name
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(cache / f"{name}.lock"):
            if folder.is_dir():
                return folder
            work = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=cache))
            try:
                build(work)
                work.rename(folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise ConfigurationError(
            f"the model cache {cache} cannot be written ({error.strerror or error}); "
            "set DIFFUSION_SWEEPS_CACHE to a folder that can"
        ) from error
    return folder


def random_pipeline(architecture: str, device: str, dtype: Dtype) -> Pipeline:
    """Build a pipeline of the published size with random weights, right on its device.

    Raises:
        torch.OutOfMemoryError: the device is too small for it.
    """
    import torch

    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            family = buildable()[architecture]
            pipe = assemble(family, family.published[architecture])
    finally:
        torch.set_default_dtype(default)
    # buffers that a constructor made on the CPU (position ids, time embeddings) follow
    return pipe.to(device=device, dtype=dtype)


def _save_pipeline(architecture: str, folder: Path) -> None:
    family = buildable()[architecture]
    pipeline = assemble(family, family.tiny(architecture))
    pipeline.save_pretrained(folder, safe_serialization=True)


def assemble(family: Family, components: Components) -> Pipeline:
    """Build a pipeline from its parts' configurations, with weights from a fixed seed."""
    with _seeded():
        parts = family.build(components)
    return family.load_class()(**parts, **family.options)


@contextmanager
def _seeded() -> Iterator[None]:
    """Draw from a fixed seed and leave the process's generators as they were."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_SEED)
        yield


def _save_clip(folder: Path) -> None:
    import open_clip
    from safetensors.torch import save_file

    size = {"embed_dim": 32}
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    with _seeded():
        model = open_clip.CLIP(**size, vision_cfg=vision, text_cfg=text)
    config = {"model_cfg": {**size, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
