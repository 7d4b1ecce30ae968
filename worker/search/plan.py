"""From a task and its search section to the configurations to measure.

Configurations that cannot differ from another are recognised and measured once; those that cannot
be right are left out with the reason. Both happen before any device is touched: no torch here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from worker.accelerators.registry import specs
from worker.models.families.base import TINY_CAPTIONS, Architecture, Config, Pipe
from worker.models.families.registry import family_of
from worker.models.sources import names_folder
from worker.models.suitability import denoiser_config
from worker.models.task import Task
from worker.search.configuration import BASELINE, Configuration
from worker.search.incompatible import incompatibility
from worker.search.section import ConfigurationGrid, Search
from worker.search.simplify import effect, simplify

_NAMED_TWICE = "it is named more than once"


@dataclass(frozen=True)
class LeftOut:
    """A configuration that is not measured, and why."""

    label: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What to measure, the baseline first, and what is left out."""

    configurations: tuple[Configuration, ...]
    left_out: tuple[LeftOut, ...]


def make_plan(task: Task, search: Search, denoiser: Config | None = None) -> Plan:
    """Return the configurations to measure, in order: baseline, controls, candidates.

    Args:
        task: the task.
        search: its section.
        denoiser: the configuration of the model's denoiser, which decides with the guidance scale
            whether its batch is doubled; None: as the model's folder tells, and as usual of one
            that has none.

    Raises:
        ConfigurationError: the folder does not tell.
    """
    task = replace(task, image_size=search.image_size)
    if denoiser is None:
        denoiser = _denoiser_in_folder(task.pipe, search)
    family = family_of(task.pipe.architecture)
    guided = family.guided(guidance_scale(task.pipe, search), denoiser)
    chosen = {effect(BASELINE, task, guided): BASELINE}
    left_out: list[LeftOut] = []
    nothing: list[str] = []
    candidates = ((item, nothing) for item in _candidates(task, search))
    for configuration, already in itertools.chain(_controls(task, search), candidates):
        impossible = incompatibility(
            configuration.accelerators, task.pipe.architecture, search.settings, task
        )
        if impossible is not None:
            left_out.append(LeftOut(configuration.label, impossible))
            continue
        simplest, because = simplify(configuration, task, guided)
        does = effect(simplest, task, guided)
        same = chosen.get(does)
        if same is None:
            chosen[does] = simplest
        else:
            if same != simplest:
                clauses = [specs()[name].same_effect for name in simplest.accelerators]
                because.append(" and ".join(dict.fromkeys(clauses)))
            because = because or already or [_NAMED_TWICE]
            reason = "; ".join([*because, f"so it is measured as {same.label!r}"])
            left_out.append(LeftOut(configuration.label, reason))
    return Plan(tuple(chosen.values()), tuple(left_out))


def captions_source(pipe: Pipe, search: Search) -> str:
    """Return where the task's captions come from; random weights need none that say something."""
    own = TINY_CAPTIONS if search.weights == "random" else pipe.captions
    return search.captions or own


def guidance_scale(pipe: Pipe, search: Search) -> float:
    """Return the guidance scale of the task."""
    chosen = search.guidance_scale
    return pipe.architecture.guidance_scale if chosen is None else chosen


def _denoiser_in_folder(pipe: Pipe, search: Search) -> Config:
    source = search.source_of(pipe)
    if search.weights == "random" or not names_folder(source):
        return {}
    return denoiser_config(family_of(pipe.architecture), source) or {}


def default_grids(architecture: Architecture) -> list[ConfigurationGrid]:
    """Return what is tried where the search section names no configurations."""
    alone = ((spec.name, spec.alone(architecture)) for spec in specs().values())
    grids: list[dict[str, Any]] = [{name: values} for name, values in alone if values is not None]
    for spec in specs().values():
        for others in spec.combinations:
            names = (spec.name, *others)
            grids.append({name: specs()[name].combined(architecture) for name in names})
    return [ConfigurationGrid.model_validate(grid) for grid in grids]


def impossible_grids(
    search: Search, architectures: Sequence[Architecture]
) -> Iterator[tuple[int, str]]:
    """Yield the index of each grid that holds a configuration impossible on every UNet, and why.

    One that is impossible on some of them only is left out there, by the plan.
    """
    for index, grid in enumerate(search.configurations or ()):
        found: dict[str, None] = {}
        for point in _expand(grid):
            answers = [incompatibility(point, unet, search.settings) for unet in architectures]
            reasons = [reason for reason in answers if reason is not None]
            if reasons and len(reasons) == len(answers):
                found[reasons[0]] = None
        yield from ((index, reason) for reason in found)


def _controls(task: Task, search: Search) -> Iterator[tuple[Configuration, list[str]]]:
    """Yield each control, and how its steps came about where its number is not as it was given."""
    chosen = dict(search.controls)
    if chosen["null_arm"]:
        yield Configuration.other_seeds(), []
    for amount in chosen["fewer_steps"]:
        asked = amount if isinstance(amount, int) else max(1, round(task.steps * amount))
        steps = max(asked, task.sched.min_steps)
        how = [] if isinstance(amount, int) else [f"{amount:g} of {task.steps} steps are {asked}"]
        if steps > asked:
            how.append(f"{task.sched.name} takes at least {steps} steps")
        yield Configuration.fewer_steps(steps), how
    for name, spec in specs().items():
        if spec.control is not None:
            for value in chosen[spec.control.key]:
                values = spec.in_calls({spec.control.parameter: value}, task)
                yield Configuration.accelerated({name: values}), []


def _candidates(task: Task, search: Search) -> Iterator[Configuration]:
    grids = search.configurations
    for grid in default_grids(task.pipe.architecture) if grids is None else grids:
        for accelerators in _expand(grid):
            yield Configuration.accelerated(
                {name: specs()[name].in_calls(item, task) for name, item in accelerators.items()}
            )


def _expand(grid: ConfigurationGrid) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield every combination of a grid's values, as accelerators with parameters."""
    axes = [
        [(name, key, value) for value in (values if isinstance(values, list) else [values])]
        for name, section in grid
        if section is not None
        for key, values in section
        if values is not None
    ]
    for point in itertools.product(*axes):
        accelerators: dict[str, dict[str, Any]] = {
            name: {} for name, section in grid if section is not None
        }
        for name, key, value in point:
            accelerators[name][key] = value
        yield {name: specs()[name].reduced(item) for name, item in accelerators.items()}
