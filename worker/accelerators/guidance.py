"""Guidance cut-off: drop classifier-free guidance after a number of UNet calls.

A control rather than an accelerator in its own right: part of T-GATE's gain is the guidance that it
drops at its gate, and this measures how much. diffusers' own ``SDCFGCutoffCallback`` keeps the
embedding of the last prompt alone, so that in a batch every image would get the same text.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.accelerators.base import Clock
from worker.types import Pipeline, Tensor

StepEnd = Callable[[Pipeline, int, Tensor, dict[str, Tensor]], dict[str, Tensor]]


def drop_guidance(gate: int, half: int) -> StepEnd:
    """Return a ``callback_on_step_end`` that drops guidance from UNet call ``gate`` on.

    ``half`` says which conditioning goes on alone: 0 the unconditional, 1 the conditional one.
    """

    def callback(
        pipe: Pipeline, index: int, _timestep: Tensor, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        if index != gate - 1 or not pipe.do_classifier_free_guidance:
            return tensors
        pipe._guidance_scale = 0.0
        return {name: tensor.chunk(2)[half] for name, tensor in tensors.items()}

    return callback


def conditioning(pipe: Pipeline) -> list[str]:
    """Return the names of the loop's tensors that hold an unconditional and a conditional half."""
    names = ("prompt_embeds", "add_text_embeds", "add_time_ids")
    return [name for name in names if name in pipe._callback_tensor_inputs]


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
