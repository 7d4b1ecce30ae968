"""From a task and its search section to the configurations to measure.

Configurations that cannot differ from another are recognised and measured once; those that cannot
be right are left out with the reason. Both happen before any device is touched: no torch here.
"""

from __future__ import annotations

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
from worker.search.space import MOST_RACED, Entry, Point, proposals_wanted

_NAMED_TWICE = "it is named more than once"


@dataclass(frozen=True)
class LeftOut:
    """A configuration that is not measured, and why."""

    label: str
    reason: str


class Plan:
    """What to measure, the baseline first, and what is left out; it grows by what is proposed.

    Args:
        task: the task.
        search: its section.
        guided: whether the pipeline computes classifier-free guidance.
    """

    def __init__(self, task: Task, search: Search, guided: bool) -> None:
        self._task = task
        self._search = search
        self._guided = guided
        self._chosen = {effect(BASELINE, task, guided): BASELINE}
        self._left_out: list[LeftOut] = []
        grids = _grids(task, search)
        self.entries = tuple(map(Entry.of, grids))
        """What is chosen from."""
        is_grid = search.strategy == "grid"
        self.proposals = 0 if is_grid else proposals_wanted(grids, search.proposals)
        """How many candidates are proposed; 0 where all are in the plan."""

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """What is measured, in order: baseline, controls, candidates."""
        return tuple(self._chosen.values())

    @property
    def expected(self) -> tuple[Configuration, ...]:
        """The same with one that stands for each of those that are to be proposed."""
        proposed = sum(item.role == "candidate" for item in self.configurations)
        more = max(0, self.proposals - proposed)
        return (*self.configurations, *[Configuration("candidate")] * more)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What is not measured, and why."""
        return tuple(self._left_out)

    def propose(self, point: Point) -> Configuration | None:
        """Add a configuration; return as which one it is measured, None where it is left out."""
        return self.add(_configuration(point, self._task), [])

    def add(self, configuration: Configuration, already: Sequence[str]) -> Configuration | None:
        """Add a configuration; return as which one it is measured, None where it is left out.

        Args:
            configuration: one to measure.
            already: how it came about, where it is not as it was given.
        """
        task, guided = self._task, self._guided
        impossible = incompatibility(
            configuration.accelerators, task.pipe.architecture, self._search.settings, task
        )
        if impossible is not None:
            self._left_out.append(LeftOut(configuration.label, impossible))
            return None
        simplest, because = simplify(configuration, task, guided)
        does = effect(simplest, task, guided)
        same = self._chosen.get(does)
        if same is None:
            self._chosen[does] = simplest
            return simplest
        if same != simplest:
            clauses = [specs()[name].same_effect for name in simplest.accelerators]
            because.append(" and ".join(dict.fromkeys(clauses)))
        because = because or list(already) or [_NAMED_TWICE]
        reason = "; ".join([*because, f"so it is measured as {same.label!r}"])
        self._left_out.append(LeftOut(configuration.label, reason))
        return same


def make_plan(task: Task, search: Search, denoiser: Config | None = None) -> Plan:
    """Return the configurations to measure, in order: baseline, controls, candidates.

    Candidates that an adaptive search proposes are not in it yet.

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
    plan = Plan(task, search, family.guided(guidance_scale(task.pipe, search), denoiser))
    for configuration, already in _controls(task, search):
        plan.add(configuration, already)
    for entry in () if plan.proposals else plan.entries:
        for point in entry.points():
            plan.propose(point)
    return plan


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
        entry = Entry.of(grid)
        # of millions, most of which are never tried, the corners tell
        is_proposed = search.strategy == "adaptive" and entry.size > MOST_RACED
        for point in entry.corners() if is_proposed else entry.points():
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


def _grids(task: Task, search: Search) -> Sequence[ConfigurationGrid]:
    grids = search.configurations
    return default_grids(task.pipe.architecture) if grids is None else grids


def _configuration(point: Point, task: Task) -> Configuration:
    return Configuration.accelerated(
        {name: specs()[name].in_calls(item, task) for name, item in point.items()}
    )
