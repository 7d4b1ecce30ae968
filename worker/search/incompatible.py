"""What cannot be right, and why: found before any device is touched. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from worker.accelerators.registry import from_inside_out, specs
from worker.accelerators.spec import AcceleratorSpec, Conditions, Values
from worker.config.settings import PipelineSettings
from worker.errors import ConfigurationError
from worker.models.catalogue import PIPES
from worker.models.families.base import Architecture, Family, Pipe
from worker.models.families.registry import family_of
from worker.models.suitability import check_source
from worker.models.task import Task
from worker.search.section import Search


def incompatibility(
    accelerators: Mapping[str, Values],
    architecture: Architecture,
    settings: PipelineSettings,
    task: Task | None = None,
) -> str | None:
    """Return why these accelerators cannot be right, or None.

    Args:
        accelerators: methods with their parameters.
        architecture: of the denoiser.
        settings: of the pipeline, the same for every configuration.
        task: None asks for what is impossible whatever the steps and the size of the images.
    """
    used = [spec for spec in from_inside_out() if spec.name in accelerators]
    conditions = Conditions(architecture, settings)
    reasons = [
        *(_missing(name, spec.title) for spec in used for name in spec.needs),
        *(_foreign_to(spec, family_of(architecture)) for spec in used),
        *(spec.incompatibility(accelerators[spec.name], conditions) for spec in used),
        *_between(accelerators),
    ]
    found = next((reason for reason in reasons if reason is not None), None)
    if found is not None or task is None:
        return found
    conditions = Conditions(architecture, settings, task, drops_guidance_at(accelerators))
    sized = (specs()[name].incompatibility(item, conditions) for name, item in accelerators.items())
    return next((reason for reason in sized if reason is not None), None)


def section_incompatibility(pipe: Pipe, search: Search) -> str | None:
    """Return why a search section cannot be right for a pipe, or None."""
    if search.weights == "random" and not pipe.is_published:
        published = ", ".join(name for name, known in PIPES.items() if known.is_published)
        return (
            f"random builds the published architecture at full size, and {pipe.name} is a "
            f"scaled-down version of it: leave weights out, or name one of {published}"
        )
    return None


def check_task(task: Task, search: Search) -> None:
    """Refuse a task that cannot be measured, by all that can be told before a model is loaded.

    Raises:
        ConfigurationError: the weights, or the model in a folder, are none for its pipe and noise
            scheduler.
    """
    reason = section_incompatibility(task.pipe, search)
    if reason is not None:
        raise ConfigurationError(f"search.weights: {reason}")
    if search.weights == "pretrained":
        check_source(task.pipe, task.sched, search.source_of(task.pipe), search.image_size)


def drops_guidance_at(accelerators: Mapping[str, Values]) -> int | None:
    """Return the UNet call from which on one of the methods drops guidance, or None."""
    gates = (specs()[name].gate(values) for name, values in accelerators.items())
    return next((gate for gate in gates if gate is not None), None)


def _between(accelerators: Mapping[str, Values]) -> Iterator[str | None]:
    """Yield, for each two methods, why they cannot act together, or None."""
    for name, values in accelerators.items():
        for other, exclusion in specs()[name].excludes.items():
            if other in accelerators:
                yield exclusion(values, accelerators[other])
    dropping = [
        spec.title
        for name, spec in specs().items()
        if name in accelerators and spec.gate(accelerators[name]) is not None
    ]
    if len(dropping) > 1:
        yield f"{' and '.join(dropping)} each drop guidance at a call of their own: leave one out"


def _foreign_to(spec: AcceleratorSpec, family: Family) -> str | None:
    if family.denoiser in spec.denoisers:
        return None
    known = " or ".join(sorted(spec.denoisers))
    return (
        f"{spec.title} changes a pipeline's {known}, and those of the family {family.name} have a "
        f"{family.denoiser_title}: leave it out there"
    )


@cache
def _missing(distribution: str, title: str) -> str | None:
    try:
        version(distribution)
    except PackageNotFoundError:
        return f"{title} needs the package {distribution}, which is not installed"
    return None
