"""How fast and how good is what a program builds? Measured by trusted code.

The program says, apart, what it builds; everything that is timed and scored here is built again
from that description by trusted code, with and without its accelerators, and goes through the one
evaluation function of the search.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from worker.accelerators.registry import specs
from worker.config.settings import PipelineSettings
from worker.config.yaml_file import read_mapping
from worker.errors import ConfigurationError, WorkerError, is_out_of_memory
from worker.judging import source
from worker.judging.build import Built
from worker.judging.reasons.codes import Why
from worker.judging.reasons.texts import text
from worker.judging.report import plain
from worker.measure import rows
from worker.models.catalogue import PIPES, find_sched
from worker.models.families.base import Pipe
from worker.models.families.registry import families, family_of
from worker.models.task import Task
from worker.results import statistics
from worker.results.row import Measurement
from worker.search.configuration import BASELINE, Configuration
from worker.search.incompatible import incompatibility
from worker.search.section import ConfigurationGrid, Search, read_search
from worker.search.simplify import simplify

if TYPE_CHECKING:
    from worker.measure.context import EvaluationContext
    from worker.measure.samples import Samples

Say = Callable[[str], None]
# What is still measured: a file may ask for more than a device gets done in a day.
MAX_STEPS = 1000  # as many as these models were trained on
MAX_BATCH = 64
MAX_WORK = 100 * 16 * 1024**2  # steps times pixels of all images of one call


class UnsuitableError(Exception):
    """What the program builds cannot be measured; the message says why."""


@dataclass(frozen=True)
class Target:
    """What is asked of a program; None: nothing is.

    Attributes:
        speedup: times as fast as without accelerators.
        max_loss: largest relative loss of the CLIP score.
        latency: seconds for one call of the pipeline.
    """

    speedup: float | None = None
    max_loss: float | None = None
    latency: float | None = None


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
    if not isinstance(fields["guidance"], (int, float)):
        raise UnsuitableError("its guidance is not a number")
    if fields["height"] != fields["width"]:
        raise UnsuitableError(f"its images are not square ({fields['width']}×{fields['height']})")
    model_id = fields["model_id"]
    if not isinstance(model_id, str):
        raise UnsuitableError("its pipeline is put together from parts, not loaded from a model")
    place = models.get(model_id, model_id)
    like = next((pipe for pipe in PIPES.values() if pipe.source == place), None)
    pipe = Pipe(model_id, family.unlisted, place, int(fields["height"]))
    if like is not None:
        pipe = replace(pipe, clip=like.clip, captions=like.captions)
    try:
        task = Task(pipe, find_sched(str(fields["scheduler"])), fields["steps"])
    except ConfigurationError as error:
        raise UnsuitableError(str(error)) from error
    compiled = "unet compile" in fields["settings"]
    configuration, remarks = _configuration(fields, task, compiled=compiled)
    if fields["negative_prompt"]:
        remarks.append("measured without its negative prompt")
    return Program(
        task,
        place,
        built.description["fields"]["scheduler_args"],  # with its infinities, which JSON lacks
        configuration,
        str(fields["dtype"]),
        float(fields["guidance"]),
        batch,
        compiled,
        tuple(remarks),
    )


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


def _configuration(
    fields: Mapping[str, Any], task: Task, *, compiled: bool
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
        checked = _checked(name, parameters)
        chosen[name] = specs()[name].in_calls(checked, task)
    settings = PipelineSettings(compile=compiled)
    impossible = incompatibility(chosen, task.pipe.architecture, settings)
    if impossible is not None:
        raise UnsuitableError(impossible)
    guided = family_of(task.pipe.architecture).guided(fields["guidance"])
    configuration, because = simplify(Configuration.accelerated(chosen), task, guided=guided)
    return configuration, list(because)


def _checked(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return an accelerator's parameters, all of them, as the search has them.

    Raises:
        UnsuitableError: the search knows no such accelerator, or not with these.
    """
    package = specs()[name].package if name in specs() else None
    if package is not None:
        try:
            parameters = package.as_searched(parameters)
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


def measure(program: Program, options: MeasureOptions, device: str, say: Say) -> Measured:
    """Measure a program's configuration against its own baseline.

    Raises:
        WorkerError: the model, the scorer or the captions cannot be had.
        UnsuitableError: the pipeline fails, or with its accelerators does not fit on the device.
        torch.OutOfMemoryError: the baseline does not fit.
    """
    from worker.measure.session import Session
    from worker.measure.settings import TaskRequest, settings_of
    from worker.search.studies import Study

    dtype = "float32" if device == "cpu" else program.dtype
    if dtype != program.dtype:
        say(f"on a CPU {program.dtype} is measured as {dtype}")
    search = _search(program, options, dtype)
    study = Study("", options.num_samples, options.batch_size or program.batch, seed=options.seed)
    request = TaskRequest(program.task, search, study.count, study.batch_size, study.seed)
    wanted = [BASELINE]
    if program.configuration.accelerators:
        wanted.append(program.configuration)
    with Session(program.task, search, device, say) as session:
        context = session.context(settings_of(request, study, device), study)
        samples = _evaluate(program, context, wanted, say)
    baseline, candidate = samples[0], samples[-1]
    if candidate.failure is not None:
        raise UnsuitableError(f"what it builds cannot be measured here: {candidate.failure}")
    loss = None
    if baseline.clip:
        loss = statistics.relative_loss(baseline.clip, candidate.clip)
    return Measured(
        rows.make_measurement(baseline, baseline, study.batch_size),
        rows.make_measurement(candidate, baseline, study.batch_size),
        statistics.speedup(baseline.seconds, candidate.seconds),
        loss,
        statistics.percentile(candidate.seconds, 50),
    )


def _evaluate(
    program: Program, context: EvaluationContext, wanted: list[Configuration], say: Say
) -> list[Samples]:
    """Evaluate with the program's own noise scheduler; what fails then is the program's doing.

    Raises:
        UnsuitableError: the pipeline fails.
        torch.OutOfMemoryError: the baseline does not fit on the device.
    """
    from diffusers import schedulers

    from worker.measure.evaluation import evaluate

    kind = getattr(schedulers, program.task.sched.class_name)
    try:
        context.pipeline.plain.scheduler = kind.from_config(dict(program.scheduler))
        return evaluate(context, wanted, lambda done: say(f"  {done}"))
    except ConfigurationError as error:
        raise UnsuitableError(str(error)) from error
    except WorkerError:
        raise
    except Exception as error:  # whatever diffusers makes of this configuration
        if is_out_of_memory(error) or "CUDA error" in str(error):
            raise
        raise UnsuitableError(f"its pipeline fails: {type(error).__name__}: {error}") from error


def _search(program: Program, options: MeasureOptions, dtype: str) -> Search:
    """Return the search section that would measure this program."""
    section: dict[str, Any] = {
        "models": {program.task.pipe.name: program.source},
        "image_size": program.task.pipe.image_size,
        "guidance_scale": program.guidance,
        "dtype": dtype,
        "settings": {"compile": program.compiled},
        "timing": {"warmup": options.warmup, "repeats": options.repeats},
    }
    if options.captions is not None:
        section["captions"] = options.captions
    if options.clip is not None:
        section["clip"] = {"model": options.clip[0], "pretrained": options.clip[1]}
    search, problems = read_search(section)
    if search is None:
        key, message = problems[0]
        raise UnsuitableError(f"{key.removeprefix('search.')}: {message}")
    return search


@dataclass(frozen=True)
class Verdict:
    """Whether a target is met: each demand with its answer, and how much of it was achieved."""

    answers: Mapping[str, statistics.Answer]
    achievement: float

    @property
    def passed(self) -> bool | None:
        """True if every demand is met, False if one is not, None if that cannot be told yet."""
        answers = set(self.answers.values())
        if "not within" in answers:
            return False
        return None if "cannot tell yet" in answers else True


def verdict(measured: Measured, target: Target) -> Verdict:
    """Compare what was measured with a target.

    A bound is met when the interval's worse end meets it. The achievement is the smallest
    min(1, achieved / required) of what is asked.
    """
    answers: dict[str, statistics.Answer] = {}
    achieved = [1.0]
    if target.speedup is not None:
        answers["speedup"] = _at_least(measured, target.speedup)
        achieved.append(measured.speedup.value / target.speedup)
    if target.latency is not None:
        answers["latency"] = "within" if measured.latency <= target.latency else "not within"
        achieved.append(target.latency / measured.latency)
    if target.max_loss is not None:
        answers["loss"] = "cannot tell yet"
        if not _accelerated(measured):
            answers["loss"] = "within"
        elif measured.loss is not None:
            answers["loss"] = statistics.answer(measured.loss, target.max_loss)
            if measured.loss.value > target.max_loss:
                achieved.append(target.max_loss / measured.loss.value)
    return Verdict(answers, max(0.0, min(achieved)))


def _accelerated(measured: Measured) -> bool:
    return measured.candidate.role != "baseline"


def _at_least(measured: Measured, bound: float) -> statistics.Answer:
    if not _accelerated(measured):
        return "within" if bound <= 1 else "not within"
    low, high = measured.speedup.low, measured.speedup.high
    if low is None or high is None:  # too few pairs for an interval
        return "cannot tell yet"
    if low >= bound:
        return "within"
    return "not within" if high < bound else "cannot tell yet"


def as_json(program: Program, measured: Measured, verdict: Verdict) -> dict[str, Any]:
    """Return everything that was found, as plain data."""
    task, loss = program.task, measured.loss
    return {
        "configuration": {
            "model_id": task.pipe.name,
            "scheduler": task.sched.class_name,
            "steps": task.steps,
            "guidance": program.guidance,
            "image_size": task.pipe.image_size,
            "batch": program.batch,
            "dtype": program.dtype,
            "compiled": program.compiled,
        },
        "accelerators": program.configuration.as_json()["accelerators"],
        "label": program.configuration.label,
        "remarks": list(program.remarks),
        "baseline": measured.baseline.as_json(),
        "candidate": measured.candidate.as_json(),
        "speedup": asdict(measured.speedup),
        "relative_loss": None if loss is None else asdict(loss),
        "latency": measured.latency,
        "answers": dict(verdict.answers),
        "passed": verdict.passed,
        "achievement": verdict.achievement,
    }


def read_target(path: Path) -> Target:
    """Return the target in a YAML file: ``target_speedup``, ``max_loss``, ``latency``.

    Raises:
        ConfigurationError: the file cannot be read, or a key or value is wrong.
    """
    try:
        data = source.read_source(str(path))
    except source.SourceError as error:
        raise ConfigurationError(f"{path} {error}") from error
    content = read_mapping(data, str(path), "target_speedup, max_loss or latency")
    if not content:
        raise ConfigurationError(f"{path} must hold target_speedup, max_loss or latency")
    readers = {"target_speedup": _positive, "max_loss": _share, "latency": _seconds}
    values: dict[str, float] = {}
    for key, value in content.items():
        if key not in readers:
            raise ConfigurationError(f"{path}: unknown key {key!r}; known: {', '.join(readers)}")
        number = readers[key](value)
        if number is None:
            raise ConfigurationError(f"{path}: {key}: {value!r} is no {_NAMES[key]}")
        values[key] = number
    return Target(values.get("target_speedup"), values.get("max_loss"), values.get("latency"))


_NAMES = {
    "target_speedup": "positive number",
    "max_loss": "number from 0 to 1",
    "latency": "duration such as 1.5s or 800ms",
}


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if value > 0 and math.isfinite(value) else None


def _share(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= 1 else None


def _seconds(value: object) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?", str(value).strip())
    if match is None or float(match[1]) == 0:
        return None
    return float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}[match[2]]
