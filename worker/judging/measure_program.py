"""How fast and how good is what a program builds? Measured by trusted code.

The program says, apart, what it builds; everything that is timed and scored here is built again
from that description by trusted code, with and without its accelerators, and goes through the one
evaluation function of the search.
"""

from __future__ import annotations

import math
import os.path
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from worker.accelerators.registry import specs
from worker.config.settings import PipelineSettings, Timing
from worker.errors import ConfigurationError, PipelineFailsError, WorkerError, is_out_of_memory
from worker.judging.build import Built
from worker.judging.facts.call_arguments import DECODED
from worker.judging.reasons.codes import Why
from worker.judging.reasons.texts import text
from worker.judging.report import plain
from worker.measure import rows
from worker.models.catalogue import PIPES, find_sched
from worker.models.families.base import Family, Pipe
from worker.models.families.registry import families, family_of
from worker.models.sources import has_random_weights, local_source
from worker.models.suitability import architecture_of_source, check_source, denoiser_config
from worker.models.task import Task
from worker.results import statistics
from worker.results.row import Measurement
from worker.search.configuration import BASELINE, Configuration
from worker.search.incompatible import incompatibility
from worker.search.section import ConfigurationGrid
from worker.search.simplify import simplify

if TYPE_CHECKING:
    from worker.measure.context import EvaluationContext
    from worker.measure.samples import Samples
    from worker.measure.settings import MeasurementSettings

Say = Callable[[str], None]
# What is still measured: a file may ask for more than a device gets done in a day.
MAX_STEPS = 1000  # as many as these models were trained on
MAX_BATCH = 64
_DTYPES = ("float32", "float16", "bfloat16")
MAX_WORK = 100 * 16 * 1024**2  # steps times pixels of all images of one call


class UnsuitableError(Exception):
    """What the program builds cannot be measured; the message says why."""


@dataclass(frozen=True)
class MeasureOptions:
    """How carefully to measure."""

    num_samples: int = 32
    batch_size: int | None = None
    """Images at a time; None: as many as the program's own call makes."""
    repeats: int = 10
    warmup: int = 1
    seed: int = 0
    captions: str | None = None
    clip: tuple[str, str] | None = None


@dataclass(frozen=True)
class Program:
    """What a program builds, in the words of the search."""

    task: Task
    source: str
    scheduler: Mapping[str, Any]
    """The noise scheduler's whole configuration."""
    configuration: Configuration
    dtype: str
    guidance: float
    batch: int
    compiled: bool
    """Whether its UNet is compiled; the baseline's then is as well."""
    remarks: tuple[str, ...]


def program_of(built: Built, models: Mapping[str, str]) -> Program:
    """Return what to measure.

    Raises:
        UnsuitableError: it is no pipeline, or changed in a way, that can be measured here.
    """
    if built.description is None:
        raise UnsuitableError(text(built.problem or Why.BUILDS_NO_PIPELINE()))
    fields = {name: plain(value) for name, value in built.findings.fields.items()}
    if not isinstance(fields["steps"], int) or fields["steps"] < 1:
        raise UnsuitableError("it never calls its pipeline")
    known_families = {family.pipeline_class: family for family in families().values()}
    family = known_families.get(str(fields["pipeline"]))
    if family is None:
        known = " and ".join(known_families)
        raise UnsuitableError(f"{fields['pipeline']} cannot be measured here, only {known} can")
    unknown = built.description.get("unknown")
    if unknown:
        raise UnsuitableError(f"its UNet is changed in a way not known here ({unknown[0]})")
    batch = fields["batch"] * fields["images_per_prompt"]
    _refuse_excess(fields["steps"], batch, fields["height"] * fields["width"])
    guidance = fields["guidance"]
    if not isinstance(guidance, (int, float)) or guidance < 0:
        raise UnsuitableError("its guidance is not a number from 0 on")
    if fields["height"] != fields["width"]:
        raise UnsuitableError(f"its images are not square ({fields['width']}×{fields['height']})")
    if fields["height"] < 1 or fields["height"] % family.pixels_per_latent:
        raise UnsuitableError(
            f"its images have sides of {fields['height']} pixels, no multiple of "
            f"{family.pixels_per_latent}"
        )
    model_id = fields["model_id"]
    if not isinstance(model_id, str):
        raise UnsuitableError("its pipeline is put together from parts, not loaded from a model")
    size = int(fields["height"])
    try:
        pipe = _pipe(model_id, models.get(model_id, model_id), family, size)
        task = Task(pipe, find_sched(str(fields["scheduler"])), fields["steps"], size)
        check_source(pipe, task.sched, pipe.source, size)
    except ConfigurationError as error:
        raise UnsuitableError(str(error)) from error
    compiled = "unet compile" in fields["settings"]
    guided = _guided(built.description["objects"], task, fields["guidance"])
    configuration, remarks = _configuration(fields, task, compiled=compiled, guided=guided)
    if fields["negative_prompt"]:
        remarks.append("measured without its negative prompt")
    others = _other_arguments(fields["call_options"])
    if others:
        remarks.append(f"measured without {', '.join(others)} of its call")
    return Program(
        task,
        pipe.source,
        built.description["fields"]["scheduler_args"],  # with its infinities, which JSON lacks
        configuration,
        str(fields["dtype"]),
        float(guidance),
        batch,
        compiled,
        tuple(remarks),
    )


def _pipe(model_id: str, place: str, family: Family, size: int) -> Pipe:
    """Return what a task needs to know of the model that a program loads.

    Raises:
        ConfigurationError: its denoiser is not one in which accelerators could be placed.
    """
    if os.path.isdir(place):
        place = os.path.abspath(place)
    pipe = Pipe(model_id, architecture_of_source(family, place), place, size)
    folder = local_source(place)
    for like in PIPES.values():
        shipped = like.source.startswith("package:") and local_source(like.source) == folder
        if like.source == place or shipped:
            pipe = replace(pipe, clip=like.clip, captions=like.captions)
    return pipe


def _refuse_excess(steps: int, batch: int, pixels: int) -> None:
    """Raise UnsuitableError if one call is more than can be measured, or nothing at all."""
    if steps > MAX_STEPS:
        raise UnsuitableError(f"its call takes {steps} steps; at most {MAX_STEPS} are measured")
    if not 1 <= batch <= MAX_BATCH:
        raise UnsuitableError(
            f"its call makes {batch} images at once; from 1 to {MAX_BATCH} are measured"
        )
    if steps * batch * pixels > MAX_WORK:
        raise UnsuitableError(
            f"its call is too large to be measured ({steps} steps of {batch} images of {pixels} "
            f"pixels, {steps * batch * pixels / MAX_WORK:.1f} times the limit)"
        )


def _other_arguments(options: Mapping[str, Any]) -> list[str]:
    """Return the names of a call's arguments that change its images and are not measured."""
    return sorted(
        name
        for name, value in options.items()
        if name.isidentifier() and not (name == "output_type" and str(value) in DECODED)
    )


def _guided(objects: Mapping[str, Any], task: Task, scale: float) -> bool:
    """Return whether a program's pipeline computes classifier-free guidance.

    Args:
        objects: the configurations of its parts, as it describes them.
        task: with the model whose own denoiser is measured.
        scale: the guidance scale of its call.

    Raises:
        UnsuitableError: it does not where the model's own denoiser would, or the other way round.
    """
    family = family_of(task.pipe.architecture)
    own = denoiser_config(family, local_source(task.pipe.source)) or {}
    prefix = f"{family.denoiser}.config."
    used = {key.removeprefix(prefix): objects[key] for key in objects if key.startswith(prefix)}
    guided = family.guided(scale, own)
    if family.guided(scale, used) != guided:
        raise UnsuitableError(
            f"its {family.denoiser_title} is not its model's own: one of them has a guidance embedding, "
            "and the other has none"
        )
    return guided


def _configuration(
    fields: Mapping[str, Any], task: Task, *, compiled: bool, guided: bool
) -> tuple[Configuration, list[str]]:
    """Return a program's accelerators as the search names them.

    Raises:
        UnsuitableError: they are broken, or cannot be right on this UNet.
    """
    chosen: dict[str, dict[str, Any]] = {}
    for name, given in fields["accelerators"].items():
        parameters = dict(given)
        if "broken" in parameters:
            raise UnsuitableError(f"its {name} cannot work: {parameters['broken']}")
        checked = _checked(name, parameters, task.calls, guided)
        chosen[name] = specs()[name].in_calls(checked, task)
    settings = PipelineSettings(compile=compiled)
    impossible = incompatibility(chosen, task.pipe.architecture, settings)
    if impossible is not None:
        raise UnsuitableError(impossible)
    configuration, because = simplify(Configuration.accelerated(chosen), task, guided=guided)
    return configuration, list(because)


def _checked(name: str, parameters: dict[str, Any], calls: int, guided: bool) -> dict[str, Any]:
    """Return an accelerator's parameters, all of them, as the search has them.

    Raises:
        UnsuitableError: the search knows no such accelerator, or not with these.
    """
    package = specs()[name].package if name in specs() else None
    if package is not None:
        try:
            parameters = package.as_searched(parameters, calls, guided)
        except ValueError as error:
            raise UnsuitableError(str(error)) from error
    try:
        grid = ConfigurationGrid.model_validate({name: parameters})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UnsuitableError(f"it cannot be measured: {place}: {first['msg']}") from error
    checked: dict[str, Any] = getattr(grid, name).model_dump(exclude_none=True)
    return checked


@dataclass(frozen=True)
class Measured:
    """What was measured, as rows of a results file."""

    baseline: Measurement
    candidate: Measurement
    """The baseline itself, where the program has no accelerator that does anything."""
    speedup: statistics.Estimate
    loss: statistics.Estimate | None
    """None where no quality was measured."""
    latency: float
    """Median seconds of one call."""
    loss_unknown: str | None = None
    """Why no loss is known, if none is."""

    @property
    def is_accelerated(self) -> bool:
        """Whether the program has an accelerator that does anything."""
        return self.candidate.role != "baseline"


def measure(program: Program, options: MeasureOptions, device: str, say: Say) -> Measured:
    """Measure a program's configuration against its own baseline.

    Raises:
        WorkerError: the model, the scorer or the captions cannot be had.
        OutOfMemoryError: the baseline does not fit on the device.
        UnsuitableError: the pipeline fails, or with its accelerators does not fit on the device.
    """
    from worker.measure.session import Session
    from worker.search.studies import Study

    settings = _settings(program, options, device, say)
    study = Study("", settings.num_samples, settings.batch_size, seed=settings.seed)
    wanted = [BASELINE]
    if program.configuration.accelerators:
        wanted.append(program.configuration)
    with Session(program.task, device, say) as session:
        context = session.context(settings, study)
        samples = _evaluate(program, context, wanted, say)
    baseline, candidate = samples[0], samples[-1]
    if candidate.failure is not None:
        raise UnsuitableError(f"what it builds cannot be measured here: {candidate.failure}")
    loss, unknown = None, _no_quality(program, options)
    if baseline.clip:
        loss = statistics.relative_loss(baseline.clip, candidate.clip)
        if not math.isfinite(loss.value):
            loss, unknown = None, "the baseline's scores have a mean of zero"
    return Measured(
        rows.make_measurement(baseline, baseline, study.batch_size),
        rows.make_measurement(candidate, baseline, study.batch_size),
        statistics.speedup(baseline.seconds, candidate.seconds),
        loss,
        statistics.percentile(candidate.seconds, 50),
        unknown,
    )


def _no_quality(program: Program, options: MeasureOptions) -> str | None:
    """Return why the images that a program's pipeline makes cannot be scored, or None."""
    if has_random_weights(program.source):
        return "random weights"
    scorer, _ = options.clip or program.task.pipe.clip
    if has_random_weights(scorer.removeprefix("local-dir:")):
        return f"the scorer {scorer} has random weights"
    return None


def _settings(
    program: Program, options: MeasureOptions, device: str, say: Say
) -> MeasurementSettings:
    """Return what the program's figures depend on.

    Raises:
        UnsuitableError: nothing is measured in its floating-point type.
    """
    from worker.measure.settings import MeasurementSettings

    dtype = "float32" if device == "cpu" else program.dtype
    if dtype != program.dtype:
        say(f"on a CPU {program.dtype} is measured as {dtype}")
    if dtype not in _DTYPES:
        raise UnsuitableError(f"its pipeline is {dtype}; {', '.join(_DTYPES)} are measured")
    task = program.task
    return MeasurementSettings(
        pipe=task.pipe.name,
        source=program.source,
        weights="pretrained",
        sched=task.sched.name,
        steps=task.steps,
        image_size=task.pipe.image_size,
        guidance_scale=program.guidance,
        dtype=dtype,
        captions=task.pipe.captions if options.captions is None else options.captions,
        clip=None if _no_quality(program, options) else options.clip or task.pipe.clip,
        lpips=None,
        fid=None,
        num_samples=options.num_samples,
        first_prompt=0,
        prompts="as given",
        batch_size=options.batch_size or program.batch,
        seed=options.seed,
        pipeline=PipelineSettings(compile=program.compiled),
        timing=Timing(warmup=options.warmup, repeats=options.repeats),
    )


def _evaluate(
    program: Program, context: EvaluationContext, wanted: list[Configuration], say: Say
) -> list[Samples]:
    """Evaluate with the program's own noise scheduler; what fails then is the program's doing.

    Raises:
        UnsuitableError: the pipeline fails.
        OutOfMemoryError: the baseline does not fit on the device.
    """
    from diffusers import schedulers

    from worker.measure.evaluation import evaluate

    kind = getattr(schedulers, program.task.sched.class_name)
    try:
        context.pipeline.plain.scheduler = kind.from_config(dict(program.scheduler))
        return evaluate(context, wanted, lambda done: say(f"  {done}"))
    except PipelineFailsError as error:
        raise UnsuitableError(f"its pipeline fails: {error.reason}") from error
    except WorkerError:
        raise
    except Exception as error:  # whatever diffusers makes of this configuration
        if is_out_of_memory(error) or "CUDA error" in str(error):
            raise
        raise UnsuitableError(f"its pipeline fails: {type(error).__name__}: {error}") from error
