"""Load a pipeline onto its device, with the noise scheduler of the task."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.config.settings import PipelineSettings
from worker.errors import ConfigurationError, TryAgainLaterError, first_line, is_out_of_memory
from worker.models.ahead import files_below, is_kept, keep, taken_or
from worker.models.catalogue import Sched
from worker.models.families.base import Config, Family, Pipe
from worker.models.families.registry import family_of
from worker.models.folder import SCHEDULER, ModelFolder, read_json
from worker.models.noise_schedule import make_scheduler, not_taken, scheduler_class
from worker.models.random_weights import random_pipeline
from worker.models.sources import (
    local_source,
    names_folder,
    prefer_cache_without_network,
    refuse_no_hub_id,
    was_unreachable,
)
from worker.models.suitability import check_configs, check_folder
from worker.models.transfer import make_resident, to_device
from worker.types import Dtype, Module, Pipeline

_KIND = "pipeline"


def load_pipeline(
    pipe: Pipe,
    sched: Sched,
    *,
    source: str,
    weights: str,
    device: str,
    dtype: Dtype,
    image_size: int | None = None,
    tell_not_taken: Callable[[Mapping[str, object]], None] = lambda _settings: None,
) -> Pipeline:
    """Return the pipeline on ``device``, quiet, without a safety checker.

    Args:
        pipe: the catalogue's entry; its architecture decides the pipeline's class.
        sched: the noise scheduler to set.
        source: hub id or folder to load instead of the catalogue's.
        weights: ``pretrained``, or ``random`` for the published configuration at full size.
        device: a torch device.
        dtype: a torch floating-point type.
        image_size: pixels that were chosen for its images; None: the pipe's own, which then has to
            be the model's.
        tell_not_taken: told what of the model's scheduler configuration the noise scheduler does not
            take; not called with random weights, which come with none.

    Raises:
        ConfigurationError: the folder or hub id holds no such pipeline as safetensors, or the noise
            scheduler does not take the model's configuration.
        TryAgainLaterError: the hub cannot be reached and the pipeline is not in its cache.
        torch.OutOfMemoryError: the device is too small.
    """
    _hush_libraries()
    if weights == "random":
        pipeline = random_pipeline(pipe.architecture.name, device, dtype)
        set_sched(pipeline, sched)
    else:
        wanted = _Wanted(pipe, sched, source, dtype, image_size)
        pipeline, config = taken_or(_KIND, wanted.key(), wanted.load)
        to_device(modules_of(pipeline).values(), device)
        pipeline = pipeline.to(device)
        tell_not_taken(not_taken(sched, config))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_ahead(
    pipe: Pipe, sched: Sched, *, source: str, dtype: Dtype, image_size: int | None = None
) -> None:
    """Load a pipeline into host memory, for ``load_pipeline`` to take; no GPU is touched.

    Raises:
        ConfigurationError, TryAgainLaterError: as there.
    """
    _hush_libraries()
    wanted = _Wanted(pipe, sched, source, dtype, image_size)
    key = wanted.key()  # before: a file that changes meanwhile is to be seen
    pipeline, config = wanted.load()
    make_resident(modules_of(pipeline).values())
    keep(_KIND, key, (pipeline, config))


def is_on_host() -> bool:
    """Say whether a pipeline was loaded ahead, so that what remains is its way to the device."""
    return is_kept(_KIND)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A pipeline in host memory, and the noise scheduler that it is to have."""

    pipe: Pipe
    sched: Sched
    # A hub id or a folder.
    source: str
    dtype: Dtype
    image_size: int | None

    def key(self) -> tuple[object, ...]:
        """Return everything that the pipeline depends on."""
        place = local_source(self.source)
        files = files_below(place) if names_folder(place) else ()
        return (self.pipe.name, self.sched.name, place, self.dtype, self.image_size, files)

    def load(self) -> tuple[Pipeline, Mapping[str, Any]]:
        """Return it, and the model's own scheduler configuration."""
        pipeline, config = _from_pretrained(
            self.pipe, self.sched, local_source(self.source), self.dtype, self.image_size
        )
        _check_parts(pipeline, self.pipe, self.source)
        return pipeline, config


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
    """Replace the pipeline's noise scheduler, keeping the model's own scheduler configuration.

    Raises:
        ConfigurationError: the noise scheduler does not take it.
    """
    pipeline.scheduler = make_scheduler(sched, pipeline.scheduler.config)


def modules_of(pipeline: Pipeline) -> dict[str, Module]:
    """Return the parts of a pipeline that have weights, by name."""
    import torch

    parts = pipeline.components.items()
    return {name: part for name, part in parts if isinstance(part, torch.nn.Module)}


def _from_pretrained(
    pipe: Pipe, sched: Sched, source: str, dtype: Dtype, image_size: int | None
) -> tuple[Pipeline, Mapping[str, Any]]:
    """Load safetensors from a folder or the hub, half-precision files where there are any.

    Returns:
        The pipeline with the task's noise scheduler, and the model's own scheduler configuration.
    """
    family = family_of(pipe.architecture)
    options: dict[str, Any] = {"torch_dtype": dtype, "use_safetensors": True, **family.options}
    half = dtype.itemsize == 2
    if names_folder(source):
        folder = Path(source).expanduser()
        variant = check_folder(folder, pipe, sched, image_size=image_size, half=half)
        source, variants = str(folder), [variant]
        options["local_files_only"] = True
    else:
        refuse_no_hub_id(source)
        prefer_cache_without_network()
        # some kilobytes, before the weights' gigabytes
        check_configs(_configs_on_the_hub(pipe, source), pipe, source, image_size)
        # not every repository has half-precision files beside the full ones, nor the full ones
        variants = ["fp16", None] if half else [None, "fp16"]
    with _in_one_sentence(source):
        config = scheduler_class(sched).load_config(
            source, subfolder=SCHEDULER, local_files_only=names_folder(source)
        )
    # given, the model's own is not made: its class may not take what it was saved with; and the
    # pipelines mend what old configurations leave out
    options["scheduler"] = make_scheduler(sched, config)
    pipeline = _call_from_pretrained(family, source, options, variants)
    local = ModelFolder(Path(source)) if names_folder(source) else None
    _check_all_loaded(pipeline, family, source, local, variants[0])
    return pipeline, config


def _check_all_loaded(
    pipeline: Pipeline,
    family: Family,
    source: str,
    folder: ModelFolder | None,
    variant: str | None,
) -> None:
    """Refuse a model whose files lack some of its weights.

    diffusers leaves those without values, and transformers draws them at random, both silently.

    Raises:
        ConfigurationError: some are missing.
    """
    for part in family.weighty:
        module = getattr(pipeline, part)
        weights = module.state_dict() if module is not None else {}
        missing = [name for name, weight in weights.items() if weight.is_meta]
        if part in family.text_encoders and folder is not None:
            missing += _not_stored(module, weights, folder.tensor_names(part, variant))
        if missing:
            raise ConfigurationError(
                f"the weights of {part} in {source} lack {len(missing)} of the {len(weights)} that "
                f"its config.json asks for, such as {missing[0]}: copy or download it again, or write "
                "it again with save_pretrained"
            )


def _not_stored(module: Module, weights: Mapping[str, Any], stored: set[str]) -> list[str]:
    """Return the weights of a model of transformers that its files hold under no name."""
    # which some versions write, and others leave out
    prefix = f"{module.base_model_prefix}."
    names = {name.removeprefix(prefix) for name in stored}
    # weights that are tied to others are stored once
    found = {
        weight.data_ptr() for name, weight in weights.items() if name.removeprefix(prefix) in names
    }
    return [name for name, weight in weights.items() if weight.data_ptr() not in found]


def _call_from_pretrained(
    family: Family, source: str, options: Mapping[str, Any], variants: Sequence[str | None]
) -> Pipeline:
    """Load the first of the variants of the weights that there is.

    Where there is none, the error about the plain weights is raised, which says most.
    """
    errors: dict[str | None, ConfigurationError] = {}
    for variant in variants:
        try:
            with _in_one_sentence(source):
                return family.load_class().from_pretrained(source, **options, variant=variant)
        except ConfigurationError as error:
            errors[variant] = error
    raise errors.get(None, errors[variants[-1]])


def _configs_on_the_hub(pipe: Pipe, source: str) -> dict[str, Config]:
    """Return the configuration of each part of a model on the hub, or in the hub's cache.

    Raises:
        ConfigurationError: there is no such model, or it lacks a part.
        TryAgainLaterError: the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    configs = {}
    for part in family_of(pipe.architecture).weighty:
        with _in_one_sentence(source):
            try:
                file = hf_hub_download(source, f"{part}/config.json")
            except LocalEntryNotFoundError:  # the network's fault, though a kind of the next
                raise
            except EntryNotFoundError as error:
                raise ValueError(f"it is no {pipe.name}: it lacks {part}") from error
        configs[part] = read_json(Path(file))
    return configs


def _check_parts(pipeline: Pipeline, pipe: Pipe, source: str) -> None:
    """Refuse a model that was saved without a part.

    Raises:
        ConfigurationError: it would fail in its first call.
    """
    family = family_of(pipe.architecture)
    needed = (*family.weighty, *family.tokenizers)
    missing = [name for name in needed if getattr(pipeline, name, None) is None]
    if missing:
        raise ConfigurationError(f"{source} is no {pipe.name}: it lacks {', '.join(missing)}")
    for name, encoder in zip(family.tokenizers, family.text_encoders, strict=True):
        longest = getattr(pipeline, name).model_max_length
        most = getattr(getattr(pipeline, encoder).config, "max_position_embeddings", longest)
        if longest > most:
            raise ConfigurationError(
                f"{source} has a {name} that gives more tokens than its {encoder} takes: set "
                f"model_max_length in {name}/tokenizer_config.json to {most}"
            )


@contextmanager
def _in_one_sentence(source: str) -> Iterator[None]:
    """Say in one sentence why something of a model could not be loaded.

    Raises:
        ConfigurationError: it is not what it should be.
        TryAgainLaterError: the hub cannot be reached.
    """
    try:
        yield
    except Exception as error:  # libraries raise anything where files are not what they should be
        if is_out_of_memory(error):
            raise
        local = names_folder(source)
        if not local and was_unreachable(error):
            raise TryAgainLaterError(
                f"the model {source} is not in the local cache and the hub could not be reached; "
                "try again, or set search.models to a local folder or, if it is misspelt, another "
                "hub id"
            ) from error
        remedy = (
            "look at that folder, or write it again with save_pretrained"
            if local
            else "set search.models to a local folder or another hub id"
        )
        raise ConfigurationError(
            f"{source} cannot be loaded: {_reason(error)}; {remedy}"
        ) from error


def _reason(error: Exception) -> str:
    """Return what a library's error says, without advice on arguments that nobody here gives."""
    if "`ignore_mismatched_sizes` to `False`" in str(error):
        return "weights of a part have other shapes than its config.json asks for"
    return first_line(error).partition(". If you want")[0]
