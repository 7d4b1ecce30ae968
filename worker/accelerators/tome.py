"""ToMe: merge similar tokens before attention and copy them apart afterwards.

Daniel Bolya and Judy Hoffman, "Token Merging for Fast Stable Diffusion", CVPR-W 2023, through the
authors' package (tomesd 0.1.3), which computes the method as published. Two things are added here:
the random choice of destination tokens starts anew from each image's seed, and removing leaves none
of the package's attributes behind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from worker.accelerators.base import Clock
from worker.accelerators.recipe import Recipe, Target, keywords
from worker.accelerators.spec import (
    AcceleratorSpec,
    Captured,
    Choice,
    Conditions,
    Context,
    Flag,
    Integer,
    Layer,
    Number,
    Parameter,
    PublishedPackage,
    Simplified,
    Values,
)
from worker.models.families.base import Architecture
from worker.models.task import Task
from worker.types import Module, Opaque, Pipeline

_MOST = 0.75  # tomesd merges no more, whatever is asked
_DEFAULTS: Mapping[str, Any] = {
    "ratio": 0.5,
    "max_downsample": 1,
    "sx": 2,
    "sy": 2,
    "use_rand": True,
    "merge_attn": True,
    "merge_crossattn": False,
    "merge_mlp": False,
}
"""The parameters of tomesd 0.1.3 with their defaults."""


class ToMe:
    """Token merging on the transformer blocks of a pipeline's UNet."""

    def __init__(self, arguments: Values) -> None:
        self.arguments = dict(arguments)
        self._unet: Module = None
        self._before: dict[Any, frozenset[str]] = {}

    def prepare(self, pipe: Pipeline, clock: Clock) -> None:
        """Remember the UNet; the package patches in one go."""
        self._unet = pipe.unet

    def install(self) -> None:
        """Patch every transformer block of the UNet."""
        import tomesd

        self._before = {module: frozenset(vars(module)) for module in self._unet.modules()}
        tomesd.apply_patch(self._unet, **self.arguments)

    def begin(self, seed: int) -> None:
        """Let the random choices of this image follow from its seed alone."""
        import torch

        generator = torch.Generator(device=self._unet.device).manual_seed(seed)
        self._unet._tome_info["args"]["generator"] = generator

    def step(self) -> None:
        """Nothing depends on the step."""

    def remove(self) -> None:
        """Unpatch, and delete the attributes that the package leaves behind."""
        import tomesd

        tomesd.remove_patch(self._unet)
        for module, names in self._before.items():
            for name in frozenset(vars(module)) - names:
                delattr(module, name)
        self._before = {}


def _reached(values: Values, task: Task) -> list[int]:
    """Return where there are transformer blocks, by how much the latent image is downsampled."""
    levels = task.pipe.architecture.attention_downsamples
    return [level for level in levels if level <= values["max_downsample"]]


def _mergeable(values: Values, task: Task, level: int) -> tuple[int, int]:
    """Return how many tokens there are, and how many of them can be merged into another.

    One token in each field of ``sx`` times ``sy`` stays (tomesd 0.1.3, ``merge.py``).
    """
    side = task.side(level)
    wide, high = (side // values.get(key, _DEFAULTS[key]) for key in ("sx", "sy"))
    return side * side, side * side - wide * high


def _merged(values: Values, task: Task) -> dict[int, int]:
    """Return how many tokens are merged at each downsample at which any are."""
    counts = {}
    for level in _reached(values, task):
        tokens, mergeable = _mergeable(values, task, level)
        counts[level] = min(int(tokens * values["ratio"]), mergeable)
    return {level: count for level, count in counts.items() if count}


class _Package(PublishedPackage):
    """The authors' package: ``apply_patch`` exchanges the classes of the transformer blocks."""

    def as_searched(self, parameters: dict[str, Any], calls: int, guided: bool) -> dict[str, Any]:
        """Return the parameters with the ratio that tomesd makes of it."""
        ratio = parameters.get("ratio")
        if isinstance(ratio, (int, float)):
            parameters["ratio"] = min(ratio, _MOST)
        return parameters

    def capture(self, pipe: Pipeline, forwards: Mapping[str, Opaque]) -> Captured:
        """Read the arguments that the package keeps on the blocks that it has patched."""
        parameters = None
        for module in pipe.unet.modules():
            if type(module).__name__ == "ToMeBlock" and hasattr(type(module), "_parent"):
                given = getattr(module, "_tome_info", {}).get("args", {})
                parameters = {key: value for key, value in given.items() if key != "generator"}
        return Captured(parameters)


class _ToMeSpec(AcceleratorSpec):
    """Parameters are named as in tomesd, and their defaults are tomesd's."""

    name = "tome"
    title = "ToMe"
    parameters = (
        Parameter("ratio", Number(least=0, most=_MOST)),
        Parameter("max_downsample", Choice((1, 2, 4, 8)), default=_DEFAULTS["max_downsample"]),
        Parameter("sx", Integer(1), default=_DEFAULTS["sx"], implied=True),
        Parameter("sy", Integer(1), default=_DEFAULTS["sy"], implied=True),
        *(
            Parameter(name, Flag(), default=_DEFAULTS[name], implied=True)
            for name in ("use_rand", "merge_attn", "merge_crossattn", "merge_mlp")
        ),
    )
    layer = Layer.MODULE_CLASSES
    listed = 1
    needs = ("tomesd",)
    package = _Package("tomesd", ("apply_patch", "remove_patch"), _DEFAULTS)

    def label(self, values: Values) -> str:
        text = f"ToMe {values['ratio']}/{values['max_downsample']}"
        implied = [item.name for item in self.parameters if item.implied]
        return " ".join([text, *(f"{key} {values[key]}" for key in implied if key in values)])

    def make(self, values: Values) -> ToMe:
        return ToMe(values)

    def alone(self, architecture: Architecture) -> Values:
        first = min(architecture.attention_downsamples)
        return {"ratio": [0.3, 0.5], "max_downsample": first}

    def combined(self, architecture: Architecture) -> Values:
        return {"ratio": 0.5, "max_downsample": min(architecture.attention_downsamples)}

    def incompatibility(self, values: Values, conditions: Conditions) -> str | None:
        if conditions.settings.compile:
            return (
                "ToMe chooses tokens by their values, which cannot be compiled into the UNet: set "
                "search.settings.compile to false or leave ToMe out"
            )
        task = conditions.task
        if task is None:
            return None
        for key in ("sx", "sy"):
            stride = values.get(key, _DEFAULTS[key])
            small = [level for level in _reached(values, task) if stride > task.side(level)]
            if small:
                return (
                    f"ToMe keeps one token in {key} {stride}, and at downsample {small[0]} the "
                    f"latent image has only {task.side(small[0])} in a row"
                )
        return None

    def simplify(self, values: dict[str, Any], context: Context) -> Simplified:
        task = context.task
        reached = _reached(values, task)
        if values["ratio"] == 0:
            return None, "with ratio 0 ToMe merges nothing"
        if not reached:
            first = min(task.pipe.architecture.attention_downsamples)
            return None, (
                f"with max_downsample {values['max_downsample']} ToMe merges nothing: attention "
                f"starts at downsample {first} here"
            )
        sx, sy = (values.get(key, _DEFAULTS[key]) for key in ("sx", "sy"))
        if not _merged(values, task):
            nothing = "ToMe merges nothing here"
            return None, f"with ratio {values['ratio']}, sx {sx} and sy {sy} {nothing}"
        merges = ("merge_attn", "merge_crossattn", "merge_mlp")
        if not any(values.get(key, _DEFAULTS[key]) for key in merges):
            return (
                None,
                f"ToMe merges nothing where {merges[0]}, {merges[1]} and {merges[2]} are off",
            )
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

    def recipe(self, values: Values, target: Target) -> Recipe:
        return Recipe(
            ["import tomesd"],
            [
                f"tomesd.apply_patch(pipe.unet, {keywords(values)})",
                "# Before each call, or images depend on those before: tomesd's random choices go on.",
                "generator = torch.Generator(device=pipe.device).manual_seed(seed)",
                'pipe.unet._tome_info["args"]["generator"] = generator',
            ],
        )

    def effect(self, values: Values, context: Context) -> Values:
        others = {item.name for item in self.parameters if item.implied}
        named = {key: value for key, value in values.items() if key in others}
        return {"merged": _merged(values, context.task), **named}


SPEC = _ToMeSpec()
