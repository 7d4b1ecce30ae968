"""A measured configuration as a Python program that makes images with it, on a pipeline of one's own.

It needs only diffusers and the methods' published packages where these make the same images as this
worker, else this project, and then says why. Everything that comes from a row is written as a Python
literal: a file of results is data, also where it ends up in code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from worker.accelerators.recipe import NoRecipe, Recipe, Target
from worker.accelerators.registry import from_inside_out, specs
from worker.accelerators.spec import Values
from worker.config.settings import PipelineSettings
from worker.errors import WorkerError
from worker.models.catalogue import find_pipe, find_sched
from worker.models.families.base import Family
from worker.models.families.registry import family_of
from worker.models.folder import ModelFolder
from worker.models.sources import local_source, names_folder
from worker.results.row import MEASURED, Measurement, Row

_ON_CUDA = "cuda"
_EXAMPLE = "a red circle above a blue square"


class _Settings(BaseModel):
    """What a row's settings say of its images."""

    model_config = ConfigDict(strict=True)

    pipe: str
    source: str
    weights: str
    sched: str
    steps: int
    image_size: int
    guidance_scale: float
    dtype: Literal["float16", "bfloat16", "float32"]
    batch_size: int
    seed: int
    first_prompt: int
    pipeline: PipelineSettings
    scheduler_config: dict[str, Any] = {}


class _Configuration(BaseModel):
    """What a row's configuration says, without other seeds: that is nothing to be used."""

    model_config = ConfigDict(strict=True, extra="forbid")

    accelerators: dict[str, dict[str, bool | int | float]]
    steps: int | None = None


def chosen_under_some_bound(rows: Sequence[Measurement], best: str | None) -> Iterator[Measurement]:
    """Yield the best, and the candidates that are the fastest under one bound or another.

    Args:
        rows: with their gain and loss.
        best: the label of what is the best under the bound that was asked for.
    """
    least = math.inf
    for row in sorted(rows, key=lambda row: -(row.value_of("speedup") or 0)):
        loss = row.estimate_of("quality_loss")
        high = loss.high if loss is not None and row.role == "candidate" else None
        if high is not None and high < least:
            least = high
            yield row
        elif row.label == best:
            yield row


def snippet(row: Row) -> str | None:
    """Return the program, or None of a row that cannot be had so.

    The null arm has none, a failed configuration neither, nor what names a pipe or a method that
    this version does not know.
    """
    if row.status != MEASURED:
        return None
    try:
        settings = _Settings.model_validate(row.settings)
        configuration = _Configuration.model_validate(row.configuration)
        family = family_of(find_pipe(settings.pipe).architecture)
        find_sched(settings.sched)
        methods = {
            spec.name: _known(spec.name, configuration.accelerators[spec.name])
            for spec in from_inside_out()
            if spec.name in configuration.accelerators
        }
    except (ValidationError, WorkerError, KeyError):
        return None
    if methods.keys() != configuration.accelerators.keys():
        return None
    device = "cpu" if row.environment.get("driver") is None else _ON_CUDA
    lines = _Program(settings, configuration.steps, methods, family, device).lines(row.label)
    return "\n".join(lines) + "\n"


def _known(name: str, values: Values) -> dict[str, Any]:
    """Return a method's complete values, in the order of its parameters.

    Raises:
        KeyError: one of them is none of its parameters.
    """
    spec = specs()[name]
    unknown = values.keys() - {parameter.name for parameter in spec.parameters}
    if unknown:
        raise KeyError(*unknown)
    complete = spec.complete(values)
    return {item.name: complete[item.name] for item in spec.parameters if item.name in complete}


class _Program:
    """The parts of one program."""

    def __init__(
        self,
        settings: _Settings,
        steps: int | None,
        methods: Mapping[str, Values],
        family: Family,
        device: str,
    ) -> None:
        self._settings = settings
        self._sched = find_sched(settings.sched)
        self._steps = steps or settings.steps
        self._methods = methods
        self._family = family
        self._device = device
        target = Target(self._sched, settings.scheduler_config)
        recipes = [specs()[name].recipe(values, target) for name, values in methods.items()]
        self._why = [recipe.why for recipe in recipes if isinstance(recipe, NoRecipe)]
        if settings.pipeline.compile:
            self._why.append("the UNet was compiled with what is put into it")
        self._recipes = [recipe for recipe in recipes if isinstance(recipe, Recipe)]

    def lines(self, label: str) -> Iterator[str]:
        """Yield the whole program."""
        settings = self._settings
        yield f"# {label!r} of {settings.pipe}, {self._sched.name}, {self._steps} steps"
        yield from self._imports()
        yield ""
        yield from self._pipeline()
        yield ""
        yield f"prompts = [{_EXAMPLE!r}] * {settings.batch_size}  # yours; as many at once as were measured"
        yield f"seed = {settings.seed + settings.first_prompt}"
        if self._why:
            yield from self._accelerated()
        else:
            for recipe in self._recipes:
                yield from recipe.lines
            yield from _call("images = pipe", self._arguments(), ".images")
        yield "for number, image in enumerate(images):"
        yield '    image.save(f"image-{number}.png")'

    def _imports(self) -> Iterator[str]:
        yield "import torch"
        yield f"from diffusers import {self._sched.class_name}, {self._family.pipeline_class}"
        if self._settings.pipeline.attention == "plain":
            yield "from diffusers.models.attention_processor import AttnProcessor"
        if self._why:
            yield ""
            yield "# This project's own code, since no published package makes the same images:"
            yield from (f"# {why}." for why in self._why)
            yield "from worker.accelerators.compose import Accelerated"
        else:
            yield from (line for recipe in self._recipes for line in recipe.imports)
        if self._is_ours:
            yield "from worker.models.sources import local_source  # a small model of this project's"

    @property
    def _is_ours(self) -> bool:
        return self._settings.source.startswith(("built:", "package:"))

    def _pipeline(self) -> Iterator[str]:
        settings = self._settings
        if settings.weights == "random":
            yield "# It was measured with random weights; with these there are images to look at."
        source = settings.source
        if source.startswith("~"):
            source = str(Path(source).expanduser())
        yield f"model = local_source({source!r})" if self._is_ours else f"model = {source!r}"
        chosen = "".join(f", {name}={value!r}" for name, value in self._sched.options)
        yield (
            f'scheduler = {self._sched.class_name}.from_pretrained(model, subfolder="scheduler"{chosen})'
        )
        arguments = ["model", "scheduler=scheduler", f"torch_dtype=torch.{settings.dtype}"]
        arguments.append("use_safetensors=True")
        if (variant := self._variant()) is not None:
            arguments.append(f"variant={variant!r}")
        arguments += [f"{name}={value!r}" for name, value in self._family.options.items()]
        ending = f".to({self._device!r})"
        yield from _call(f"pipe = {self._family.pipeline_class}.from_pretrained", arguments, ending)
        yield from self._settings_of_all()

    def _variant(self) -> str | None:
        """Return the variant of a folder's weights, if the folder is still there to be looked at."""
        source = self._settings.source
        if not names_folder(source):
            return None
        try:
            folder = ModelFolder(Path(local_source(source)).expanduser())
            return folder.variant(self._family.weighty, half=self._settings.dtype != "float32")
        except (WorkerError, OSError, ValueError):
            return None

    def _settings_of_all(self) -> Iterator[str]:
        """Yield what ``worker.models.loading.apply_settings`` does."""
        settings, denoiser = self._settings.pipeline, self._family.denoiser
        if settings.attention == "plain":
            yield f"pipe.{denoiser}.set_attn_processor(AttnProcessor())"
        if settings.fused_qkv:
            yield "pipe.fuse_qkv_projections()"
        if settings.channels_last:
            yield f"pipe.{denoiser}.to(memory_format=torch.channels_last)"
            yield "pipe.vae.to(memory_format=torch.channels_last)"
        if settings.vae_slicing:
            yield "pipe.vae.enable_slicing()"

    def _arguments(self) -> list[str]:
        settings = self._settings
        return [
            "prompts",
            f"num_inference_steps={self._steps}",
            f"height={settings.image_size}",
            f"width={settings.image_size}",
            f"guidance_scale={settings.guidance_scale!r}",
            'generator=[torch.Generator("cpu").manual_seed(seed + n) for n in range(len(prompts))]',
        ]

    def _accelerated(self) -> Iterator[str]:
        methods = {name: dict(values) for name, values in self._methods.items()}
        compiled = ", compiled=True" if self._settings.pipeline.compile else ""
        yield f"with Accelerated(pipe, {methods!r}{compiled}) as accelerated:"
        calls = self._sched.calls(self._steps)
        arguments = [*self._arguments(), f"**accelerated.begin(calls={calls}, seed=seed)"]
        yield from (f"    {line}" for line in _call("images = pipe", arguments, ".images"))


def _call(start: str, arguments: Sequence[str], ending: str) -> Iterator[str]:
    """Yield a call with an argument on each line."""
    yield f"{start}("
    yield from (f"    {argument}," for argument in arguments)
    yield f"){ending}"
