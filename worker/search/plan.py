"""From a task and its search section to the configurations to measure.

Configurations that cannot differ from another are recognised and measured once; those that cannot
be right are refused with the reason. Both happen before any device is touched: no torch here.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from worker.accelerators.deepcache import full_calls
from worker.config.settings import ConfigurationGrid, PipelineSettings, Search
from worker.models.catalogue import TINY_CAPTIONS, Architecture, Pipe, Sched

Role = Literal["baseline", "control", "candidate"]
Parameters = Mapping[str, Any]

NAMES = {
    "deepcache": "DeepCache",
    "tome": "ToMe",
    "tgate": "T-GATE",
    "guidance_cutoff": "guidance off",
}
_PIXELS_PER_LATENT = 8  # of the autoencoder of every Stable Diffusion
_TOME_DEFAULTS = {
    "sx": 2,
    "sy": 2,
    "use_rand": True,
    "merge_attn": True,
    "merge_crossattn": False,
    "merge_mlp": False,
}


@dataclass(frozen=True)
class Configuration:
    """What is done to the pipeline: accelerators with their parameters, steps, seeds."""

    accelerators: Mapping[str, Parameters] = field(default_factory=dict)
    steps: int | None = None
    """Steps instead of the task's (the control "fewer steps")."""
    seeds: int = 0
    """Which set of seeds; 1 gives other starting latents (the null arm)."""

    @property
    def role(self) -> Role:
        """Whether this is the baseline, a control or a candidate."""
        if self.steps is not None or self.seeds or "guidance_cutoff" in self.accelerators:
            return "control"
        return "candidate" if self.accelerators else "baseline"

    @property
    def label(self) -> str:
        """A short name, e.g. ``DeepCache 3/0 + T-GATE 10``."""
        if self.steps is not None:
            return f"{self.steps} steps"
        if self.seeds:
            return "baseline, other seeds"
        parts = [
            _label(name, self.accelerators[name]) for name in NAMES if name in self.accelerators
        ]
        return " + ".join(parts) or "baseline"

    def as_json(self) -> dict[str, Any]:
        """Return the configuration as it stands in a results file."""
        described: dict[str, Any] = {
            "accelerators": {name: dict(values) for name, values in self.accelerators.items()}
        }
        if self.steps is not None:
            described["steps"] = self.steps
        if self.seeds:
            described["seeds"] = self.seeds
        return described

    @property
    def key(self) -> str:
        """A text that is equal for equal configurations."""
        return json.dumps(self.as_json(), sort_keys=True)


def _label(name: str, values: Parameters) -> str:
    if name == "deepcache":
        text = f"DeepCache {values['cache_interval']}/{values['cache_branch_id']}"
        if "center" not in values:
            return text
        bent = f" power {values['power']}" if "power" in values else ""
        return f"{text} non-uniform around {values['center']}{bent}"
    if name == "tome":
        text = f"ToMe {values['ratio']}/{values['max_downsample']}"
        changed = [f"{key} {values[key]}" for key in _TOME_DEFAULTS if key in values]
        return " ".join([text, *changed])
    if name == "tgate":
        text = f"T-GATE {values['gate_step']}"
        keys = (("sp_interval", "sp", 1), ("fi_interval", "fi", 1), ("warm_up", "warm-up", 0))
        return text + "".join(
            f" {word} {values[key]}" for key, word, off in keys if values[key] != off
        )
    return f"guidance off after {values['step']}"


@dataclass(frozen=True)
class Task:
    """What a plan depends on."""

    pipe: Pipe
    sched: Sched
    steps: int
    image_size: int | None = None
    """Pixels; None: the pipe's own."""

    @property
    def calls(self) -> int:
        """UNet calls for one image."""
        return self.sched.calls(self.steps)

    def at(self, amount: int | float) -> int:
        """Turn an amount in steps, or a fraction of the task's steps, into UNet calls."""
        steps = amount if isinstance(amount, int) else max(1, round(self.steps * amount))
        return self.sched.order * steps

    def side(self, downsample: int) -> int:
        """Return the height and width of the latent image where it is downsampled so much."""
        return -(-(self.image_size or self.pipe.image_size) // (_PIXELS_PER_LATENT * downsample))


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


def make_plan(task: Task, search: Search) -> Plan:
    """Return the configurations to measure, in order: baseline, controls, candidates."""
    task = replace(task, image_size=search.image_size)
    guided = guidance_scale(task.pipe, search) > 1
    chosen = {effect(Configuration(), task): Configuration()}
    left_out: list[LeftOut] = []
    wanted = itertools.chain(_controls(task, search), _candidates(task, search))
    for configuration in wanted:
        accelerators = configuration.accelerators
        refusal = refuse(accelerators, task.pipe.architecture, search.settings)
        refusal = refusal or misfit(accelerators, task)
        if refusal is not None:
            left_out.append(LeftOut(configuration.label, refusal))
            continue
        simplest, because = simplify(configuration, task, guided)
        does = effect(simplest, task)
        twin = chosen.get(does)
        if twin is None:
            chosen[does] = simplest
        else:
            if twin != simplest:
                because.append("the same calls of the UNet are full and the same tokens are merged")
            reason = "; ".join([*because, f"so it is measured as {twin.label!r}"])
            left_out.append(LeftOut(configuration.label, reason))
    return Plan(tuple(chosen.values()), tuple(left_out))


def unfit(pipe: Pipe, search: Search) -> str | None:
    """Return why a search section cannot be right for a pipe, or None."""
    if search.weights == "random" and not pipe.is_published:
        return (
            f"random builds the published architecture at full size, and {pipe.name} is a small "
            "likeness of it: leave weights out, or name SD15, SD21 or SDXL"
        )
    return None


def captions_source(pipe: Pipe, search: Search) -> str:
    """Return where the task's captions come from; random weights need none that say something."""
    own = TINY_CAPTIONS if search.weights == "random" else pipe.captions
    return search.captions or own


def guidance_scale(pipe: Pipe, search: Search) -> float:
    """Return the guidance scale of the task."""
    chosen = search.guidance_scale
    return pipe.architecture.guidance_scale if chosen is None else chosen


def default_grids(architecture: Architecture) -> list[ConfigurationGrid]:
    """Return what is tried where the search section names no configurations."""
    first = min(architecture.attention_downsamples)
    three, half = {"cache_interval": 3}, {"ratio": 0.5, "max_downsample": first}
    gate = {"gate_step": 0.4}
    grids: list[dict[str, Any]] = [
        {"deepcache": {"cache_interval": [2, 3, 5]}},
        {"tome": {"ratio": [0.3, 0.5], "max_downsample": first}},
        {"tgate": gate},
        {"deepcache": three, "tgate": gate},
        {"deepcache": three, "tome": half},
        {"deepcache": three, "tome": half, "tgate": gate},
    ]
    return [ConfigurationGrid.model_validate(grid) for grid in grids]


def refuse(
    accelerators: Mapping[str, Parameters],
    architecture: Architecture,
    settings: PipelineSettings,
) -> str | None:
    """Return why these accelerators cannot be right on that UNet, or None."""
    if "tome" in accelerators and settings.compile:
        return (
            "ToMe chooses tokens by their values, which cannot be compiled into the UNet: set "
            "search.settings.compile to false or leave ToMe out"
        )
    branch = accelerators.get("deepcache", {}).get("cache_branch_id", 0)
    if branch >= architecture.branches:
        return (
            f"cache_branch_id {branch} does not exist: a UNet of the {architecture.name} "
            f"architecture has branches 0 to {architecture.branches - 1}"
        )
    tgate, tome = accelerators.get("tgate", {}), accelerators.get("tome", {})
    if tgate and tome.get("merge_crossattn", False):
        return (
            "ToMe draws new merges at every call, so cross-attention kept by T-GATE would land on "
            "the wrong tokens: leave merge_crossattn off beside T-GATE"
        )
    reuses = max(tgate.get("sp_interval", 1), tgate.get("fi_interval", 1)) > 1
    if tome and reuses:
        return (
            "ToMe draws new merges at every call, so self-attention kept by T-GATE would land on "
            "the wrong tokens: use sp_interval 1 and fi_interval 1 beside ToMe"
        )
    return None


def misfit(accelerators: Mapping[str, Parameters], task: Task) -> str | None:
    """Return why these accelerators cannot be right for a task of that size, or None."""
    center = accelerators.get("deepcache", {}).get("center")
    if center is not None:
        if center >= task.calls:
            return f"center {center} is not one of the {task.calls} UNet calls"
        try:
            _full(accelerators, task)
        except ValueError as error:
            return str(error)
    tome = accelerators.get("tome", {})
    reached = _reached(tome, task) if tome else []
    for key in ("sx", "sy"):
        stride = tome.get(key, _TOME_DEFAULTS[key])
        small = [level for level in reached if stride > task.side(level)]
        if small:
            return (
                f"ToMe keeps one token in {key} {stride}, and at downsample {small[0]} the latent "
                f"image has only {task.side(small[0])} in a row"
            )
    return None


def refused_grids(
    search: Search, architectures: Sequence[Architecture]
) -> Iterator[tuple[int, str]]:
    """Yield the index of each grid that holds a configuration impossible on every UNet, and why.

    One that is impossible on some of them only is left out there, by the plan.
    """
    for index, grid in enumerate(search.configurations or ()):
        found: dict[str, None] = {}
        for point in _expand(grid):
            refusals = [refuse(point, unet, search.settings) for unet in architectures]
            reasons = [reason for reason in refusals if reason is not None]
            if reasons and len(reasons) == len(refusals):
                found[reasons[0]] = None
        yield from ((index, reason) for reason in found)


def _controls(task: Task, search: Search) -> Iterator[Configuration]:
    if search.controls.null_arm:
        yield Configuration(seeds=1)
    for amount in search.controls.fewer_steps:
        steps = amount if isinstance(amount, int) else max(1, round(task.steps * amount))
        yield Configuration(steps=max(steps, task.sched.min_steps))
    for amount in search.controls.guidance_off:
        yield Configuration({"guidance_cutoff": {"step": task.at(amount)}})


def _candidates(task: Task, search: Search) -> Iterator[Configuration]:
    grids = search.configurations
    for grid in default_grids(task.pipe.architecture) if grids is None else grids:
        for accelerators in _expand(grid):
            if "tgate" in accelerators:
                accelerators["tgate"]["gate_step"] = task.at(accelerators["tgate"]["gate_step"])
            yield Configuration(accelerators)


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
        accelerators: dict[str, dict[str, Any]] = {}
        for name, key, value in point:
            if not (name == "tome" and _TOME_DEFAULTS.get(key) == value):
                accelerators.setdefault(name, {})[key] = value
        yield accelerators


def simplify(
    configuration: Configuration, task: Task, guided: bool
) -> tuple[Configuration, list[str]]:
    """Return the simplest configuration that does the same, and what made it simpler."""
    if configuration.steps is not None:
        if configuration.steps >= task.steps:
            return Configuration(), [f"the task itself has only {task.steps} steps"]
        return configuration, []
    because: list[str] = []
    simpler: dict[str, Parameters] = {}
    full = _full(configuration.accelerators, task)
    for name, values in configuration.accelerators.items():
        kept, reason = _SIMPLER[name](dict(values), _Context(task, guided, full))
        if reason is not None:
            because.append(reason)
        if kept is not None:
            simpler[name] = kept
    return Configuration(simpler, seeds=configuration.seeds), because


def effect(configuration: Configuration, task: Task) -> str:
    """Return a text that is equal for configurations that do the same, however they are named."""
    accelerators = dict(configuration.accelerators)
    if "deepcache" in accelerators:
        branch = accelerators["deepcache"]["cache_branch_id"]
        accelerators["deepcache"] = {"branch": branch, "full": sorted(_full(accelerators, task))}
    if "tome" in accelerators:
        named = accelerators["tome"]
        others = {key: named[key] for key in _TOME_DEFAULTS if key in named}
        accelerators["tome"] = {"merged": merged(named, task), **others}
    return replace(configuration, accelerators=accelerators).key


def _full(accelerators: Mapping[str, Parameters], task: Task) -> frozenset[int]:
    """Return the calls in which the UNet runs whole; without DeepCache it always does."""
    if "deepcache" not in accelerators:
        return frozenset(range(task.calls))
    values = accelerators["deepcache"]
    gates = (("tgate", "gate_step"), ("guidance_cutoff", "step"))
    gate = next((accelerators[name][key] for name, key in gates if name in accelerators), None)
    schedule = {key: values[key] for key in ("center", "power") if key in values}
    return full_calls(task.calls, values["cache_interval"], gate, **schedule)


@dataclass(frozen=True)
class _Context:
    """What decides beside an accelerator's own parameters whether they make a difference."""

    task: Task
    guided: bool
    full: frozenset[int]
    """The calls in which the UNet runs whole."""

    @property
    def reuses(self) -> bool:
        """Whether DeepCache does anything."""
        return len(self.full) < self.task.calls


_Simpler = tuple[dict[str, Any] | None, str | None]
"""The parameters that do the same, or None where nothing is done, and what was made simpler."""


def _simpler_deepcache(values: dict[str, Any], context: _Context) -> _Simpler:
    task = context.task
    if values["cache_interval"] == 1:
        return None, "with cache_interval 1 DeepCache reuses nothing"
    if not context.reuses:
        return None, f"each of the {task.calls} UNet calls is full, so DeepCache reuses nothing"
    because = []
    if "power" in values and "center" not in values:
        del values["power"]
        because.append("power only bends the non-uniform schedule, which center chooses")
    if values["cache_interval"] > task.calls:
        values["cache_interval"] = task.calls
        because.append(f"only the first of {task.calls} UNet calls is full either way")
    branch = values["cache_branch_id"]
    same = task.pipe.architecture.same_branch(branch)
    if same != branch:
        values["cache_branch_id"] = same
        because.append(
            f"a block of {task.pipe.name} has fewer layers, so {branch} is branch {same}"
        )
    return values, "; ".join(because) or None


def _reached(tome: Parameters, task: Task) -> list[int]:
    """Return where ToMe finds transformer blocks, by how much the latent image is downsampled."""
    levels = task.pipe.architecture.attention_downsamples
    return [level for level in levels if level <= tome["max_downsample"]]


def _mergeable(tome: Parameters, task: Task, level: int) -> tuple[int, int]:
    """Return how many tokens there are, and how many of them can be merged into another.

    One token in each field of ``sx`` times ``sy`` stays (tomesd 0.1.3, ``merge.py``).
    """
    side = task.side(level)
    wide, high = (side // tome.get(key, _TOME_DEFAULTS[key]) for key in ("sx", "sy"))
    return side * side, side * side - wide * high


def merged(tome: Parameters, task: Task) -> dict[int, int]:
    """Return how many tokens ToMe merges at each downsample at which it merges any."""
    counts = {}
    for level in _reached(tome, task):
        tokens, mergeable = _mergeable(tome, task, level)
        counts[level] = min(int(tokens * tome["ratio"]), mergeable)
    return {level: count for level, count in counts.items() if count}


def _simpler_tome(values: dict[str, Any], context: _Context) -> _Simpler:
    task = context.task
    reached = _reached(values, task)
    if values["ratio"] == 0:
        return None, "with ratio 0 ToMe merges nothing"
    if not reached:
        return None, (
            f"with max_downsample {values['max_downsample']} ToMe merges nothing: attention starts "
            f"at downsample {min(task.pipe.architecture.attention_downsamples)} here"
        )
    sx, sy = (values.get(key, _TOME_DEFAULTS[key]) for key in ("sx", "sy"))
    if not merged(values, task):
        return None, f"with ratio {values['ratio']}, sx {sx} and sy {sy} ToMe merges nothing here"
    if not (
        values.get("merge_attn", True)
        or values.get("merge_crossattn", False)
        or values.get("merge_mlp", False)
    ):
        return None, "ToMe merges nothing where merge_attn, merge_crossattn and merge_mlp are off"
    because = []
    if max(reached) != values["max_downsample"]:
        between = f"{max(reached)} and {values['max_downsample']}"
        because.append(f"there is no attention between downsample {between}")
        values["max_downsample"] = max(reached)
    shares = (_mergeable(values, task, level) for level in reached)
    most = max(mergeable / tokens for tokens, mergeable in shares)
    most = math.ceil(most * 1e4) / 1e4  # rounded up, so that it is still all that can be merged
    if values["ratio"] > most:
        because.append(f"sx {sx} and sy {sy} leave at most {most} of the tokens to be merged")
        values["ratio"] = most
    return values, "; ".join(because) or None


def _simpler_tgate(values: dict[str, Any], context: _Context) -> _Simpler:
    task = context.task
    gate, warm_up = values["gate_step"], values["warm_up"]
    # beside DeepCache self-attention is computed in every full call, whatever the intervals say
    refreshed = context.full if context.reuses else frozenset()
    planning = set(range(warm_up + 1, min(gate - 1, task.calls))) - refreshed
    if all(call % values["sp_interval"] == 0 for call in planning):
        values |= {"sp_interval": 1, "warm_up": 0}
    improving = set(range(gate, task.calls)) - refreshed
    if all(call % values["fi_interval"] == 0 for call in improving):
        values["fi_interval"] = 1
    if gate < task.calls:
        return values, None
    reason = f"gate_step {gate} is not before the last of {task.calls} UNet calls"
    if values["sp_interval"] == 1:
        return None, reason
    # at the gate itself self-attention is computed; one behind the end is like any other
    return values | {"gate_step": min(gate, task.calls + 1)}, reason


def _simpler_guidance(values: dict[str, Any], context: _Context) -> _Simpler:
    if not context.guided:
        return None, "the pipeline runs without guidance anyway"
    if values["step"] >= context.task.calls:
        return None, f"guidance would end after the last of {context.task.calls} UNet calls"
    return values, None


_SIMPLER = {
    "deepcache": _simpler_deepcache,
    "tome": _simpler_tome,
    "tgate": _simpler_tgate,
    "guidance_cutoff": _simpler_guidance,
}
