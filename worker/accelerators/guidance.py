"""Guidance cut-off: drop classifier-free guidance after a number of UNet calls.

A control rather than an accelerator in its own right: part of T-GATE's gain is the guidance that it
drops at its gate, and this measures how much. diffusers' own ``SDCFGCutoffCallback`` keeps the
embedding of the last prompt alone, so that in a batch every image would get the same text.
"""

from __future__ import annotations

from typing import Any

from worker.accelerators.base import Clock
from worker.accelerators.recipe import NoRecipe, Target
from worker.accelerators.spec import (
    AcceleratorSpec,
    Context,
    Control,
    Layer,
    Parameter,
    Simplified,
    StepCount,
    Values,
)
from worker.types import Pipeline


class GuidanceCutoff:
    """Classifier-free guidance until UNet call ``step``, none from there on."""

    def __init__(self, step: int) -> None:
        self._gate = step

    def prepare(self, pipe: Pipeline, clock: Clock) -> None:
        """Announce the gate; the pipeline's callback does the rest."""
        clock.gate = self._gate

    def install(self) -> None:
        """Nothing is changed."""

    def begin(self, seed: int) -> None:
        """Nothing is kept from image to image."""

    def step(self) -> None:
        """Nothing inside the UNet depends on the step."""

    def remove(self) -> None:
        """Nothing was changed."""


class _GuidanceSpec(AcceleratorSpec):
    """It stands under ``search.controls``, not among the configurations."""

    name = "guidance_cutoff"
    title = "guidance off"
    parameters = (Parameter("step", StepCount()),)
    layer = Layer.GUIDANCE
    listed = 3
    control = Control("guidance_off", parameter="step", default=(0.4,))

    def label(self, values: Values) -> str:
        return f"guidance off after {values['step']}"

    def make(self, values: Values) -> GuidanceCutoff:
        return GuidanceCutoff(**values)

    def simplify(self, values: dict[str, Any], context: Context) -> Simplified:
        if not context.guided:
            return None, (
                "the pipeline runs without guidance anyway: its scale is at most 1, or its denoiser "
                "has a guidance embedding in place of a second half of the batch"
            )
        if values["step"] >= context.task.calls:
            return None, f"guidance would end after the last of {context.task.calls} UNet calls"
        return values, None

    def recipe(self, values: Values, target: Target) -> NoRecipe:
        return NoRecipe(
            "diffusers' SDCFGCutoffCallback gives every image of a batch the last prompt"
        )

    def gate(self, values: Values) -> int:
        gate: int = values["step"]
        return gate


SPEC = _GuidanceSpec()
