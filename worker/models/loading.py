"""Load a pipeline onto its device, with the noise scheduler of the task."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from worker.config.settings import PipelineSettings
from worker.errors import ConfigurationError, TryAgainLaterError, first_line, is_out_of_memory
from worker.models.catalogue import Sched
from worker.models.families.base import Family, Pipe
from worker.models.families.registry import family_of
from worker.models.random_weights import random_pipeline
from worker.models.sources import local_source, names_folder, refuse_shadow, was_unreachable
from worker.types import Dtype, Module, Opaque, Pipeline

# what the libraries raise where a folder's files are not what they should be
_UNLOADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)


def load_pipeline(
    pipe: Pipe, sched: Sched, *, source: str, weights: str, device: str, dtype: Dtype
) -> Pipeline:
    """Return the pipeline on ``device``, quiet, without a safety checker.

    Args:
        pipe: the catalogue's entry; its architecture decides the pipeline's class.
        sched: the noise scheduler to set.
        source: hub id or folder to load instead of the catalogue's.
        weights: ``pretrained``, or ``random`` for the published configuration at full size.
        device: a torch device.
        dtype: a torch floating-point type.

    Raises:
        ConfigurationError: the folder or hub id holds no such pipeline as safetensors.
        TryAgainLaterError: the hub cannot be reached and the pipeline is not in its cache.
        torch.OutOfMemoryError: the device is too small.
    """
    _hush_libraries()
    if weights == "random":
        pipeline = random_pipeline(pipe.architecture.name, device, dtype)
    else:
        family = family_of(pipe.architecture)
        pipeline = _from_pretrained(family, local_source(source), dtype)
        _check_parts(pipeline, family, pipe, source)
        pipeline = pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    set_sched(pipeline, sched)
    return pipeline


def _hush_libraries() -> None:
    """Keep progress bars and advice of the libraries out of the task's log."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    # diffusers 0.42 prefers dtype=, which older ones do not know
    warnings.filterwarnings("ignore", message=".*torch_dtype.*", category=FutureWarning)


def apply_settings(pipeline: Pipeline, family: Family, settings: PipelineSettings) -> None:
    """Apply what holds for every configuration; compiling is done with each (``compose.py``)."""
    import torch

    if settings.attention == "plain":
        family.use_plain_attention(pipeline)
    if settings.fused_qkv:
        pipeline.fuse_qkv_projections()
    if settings.channels_last:
        for part in (getattr(pipeline, family.denoiser), pipeline.vae):
            part.to(memory_format=torch.channels_last)
    if settings.vae_slicing:
        pipeline.vae.enable_slicing()


def set_sched(pipeline: Pipeline, sched: Sched) -> None:
    """Replace the pipeline's noise scheduler, keeping the model's own scheduler configuration."""
    from diffusers import schedulers

    kind = getattr(schedulers, sched.class_name)
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **dict(sched.options))


def modules_of(pipeline: Pipeline) -> dict[str, Module]:
    """Return the parts of a pipeline that have weights, by name."""
    import torch

    parts = pipeline.components.items()
    return {name: part for name, part in parts if isinstance(part, torch.nn.Module)}


def _from_pretrained(family: Family, source: str, dtype: Dtype) -> Pipeline:
    """Load safetensors from a folder or the hub, half-precision files where there are any."""
    kind = family.load_class()
    options: dict[str, Any] = {"torch_dtype": dtype, "use_safetensors": True, **family.options}
    half = {"variant": "fp16"} if options["torch_dtype"].itemsize == 2 else {}
    if names_folder(source):
        folder = Path(source).expanduser()
        _require_safetensors(folder, family)
        options["local_files_only"] = True
        variants = half if any(folder.glob(f"{family.denoiser}/*.fp16.safetensors")) else {}
        return _call_from_pretrained(kind, str(folder), options | variants)
    refuse_shadow(source)
    if not half:
        return _call_from_pretrained(kind, source, options)
    try:
        return _call_from_pretrained(kind, source, options | half)
    except ConfigurationError:
        # not every repository has half-precision files beside the full ones
        return _call_from_pretrained(kind, source, options)


def _require_safetensors(folder: Path, family: Family) -> None:
    if not folder.is_dir():
        raise ConfigurationError(f"the model folder {folder} does not exist")
    if not (folder / "model_index.json").is_file():
        raise ConfigurationError(
            f"{folder} is not a pipeline's folder: it has no model_index.json; "
            "give the folder that save_pretrained wrote"
        )
    # one without a further text encoder is of another family, which is better said once it is loaded
    for part in (family.denoiser, "vae", *family.text_encoders[:1]):
        if not any((folder / part).glob("*.safetensors")):
            raise ConfigurationError(
                f"{folder / part} holds no .safetensors file, and other formats are not loaded; "
                "convert it with save_pretrained(..., safe_serialization=True)"
            )
    for part in family.tokenizers[:1]:
        # without one transformers makes an empty one, which knows no word
        if not any((folder / part / name).is_file() for name in ("vocab.json", "tokenizer.json")):
            raise ConfigurationError(
                f"{folder / part} holds neither vocab.json nor tokenizer.json; "
                "give the folder that save_pretrained wrote"
            )


def _check_parts(pipeline: Pipeline, family: Family, pipe: Pipe, source: str) -> None:
    """Refuse a model whose denoiser is not what the plan was made for, or that lacks a part.

    Raises:
        ConfigurationError: it would fail in its first call, or at a branch that it does not have.
    """
    needed = (family.denoiser, "vae", *family.text_encoders, *family.tokenizers)
    missing = [name for name in needed if getattr(pipeline, name, None) is None]
    if missing:
        raise ConfigurationError(f"{source} is no {pipe.name}: it lacks {', '.join(missing)}")
    expected, found = family.expected_shape(pipe.architecture), family.found_shape(pipeline)
    if found != expected:
        raise ConfigurationError(
            f"{source} is no {pipe.name}: its {family.denoiser_title} has {found}, and "
            f"{pipe.name}'s has {expected}; name the pipe that it is, or another model"
        )


def _call_from_pretrained(kind: Opaque, source: str, options: dict[str, Any]) -> Pipeline:
    """Call ``kind.from_pretrained`` and say in one sentence what went wrong."""
    remedy = "set search.models to a local folder or another hub id"
    from safetensors import SafetensorError

    try:
        return kind.from_pretrained(source, **options)
    except (*_UNLOADABLE, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        if was_unreachable(error):
            raise TryAgainLaterError(
                f"the model {source} is not in the local cache and the hub could not be reached; "
                f"try again, or {remedy}"
            ) from error
        raise ConfigurationError(
            f"{source} cannot be loaded: {first_line(error)}; {remedy}"
        ) from error
