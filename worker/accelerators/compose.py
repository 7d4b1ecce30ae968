"""Several accelerators on one pipeline, installed from the inside out.

What exchanges the classes of modules comes first, then what wraps the attention in them, then what
wraps the blocks around both. They share one clock; the UNet's ``forward`` moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from typing_extensions import Self

from worker.accelerators.base import Clock, Overrides
from worker.accelerators.registry import from_inside_out
from worker.types import Opaque, Pipeline, Tensor

StepEnd = Callable[[Pipeline, int, Tensor, dict[str, Tensor]], dict[str, Tensor]]


class Accelerated:
    """A context in which a pipeline is accelerated, and after which it is as it was.

    It can be entered again and again: what is put in stays the same objects, so that a compiled
    UNet is compiled once for each configuration.

    Args:
        pipe: a Stable Diffusion pipeline (SD1.x, SD2.x or SDXL).
        accelerators: names of methods with their parameters; none leaves ``pipe`` alone.
        compiled: compile the denoiser as it is with these accelerators.
        denoiser: the part of ``pipe`` that every step calls, as its family names it.

    Example::

        with Accelerated(pipe, {"deepcache": {"cache_interval": 3}}) as accelerated:
            images = pipe(prompts, **accelerated.begin(calls=50, seed=0)).images
    """

    def __init__(
        self,
        pipe: Pipeline,
        accelerators: Mapping[str, Mapping[str, Any]],
        compiled: bool = False,
        denoiser: str = "unet",
    ) -> None:
        self._pipe = pipe
        self._clock = Clock()
        self._accelerators = [
            spec.make(spec.complete(accelerators[spec.name]))
            for spec in from_inside_out()
            if spec.name in accelerators
        ]
        for accelerator in self._accelerators:
            accelerator.prepare(pipe, self._clock)
        self._overrides = Overrides()
        part = getattr(pipe, denoiser)
        denoise = part.forward
        if compiled:
            denoise = _compiled(denoise, name=repr(accelerators))
        if self._accelerators or compiled:
            self._overrides.forward(part, self._counting(denoise))
        self._guidance_scale: float | None = None

    def __enter__(self) -> Self:
        self._guidance_scale = vars(self._pipe).get("_guidance_scale")
        try:
            for accelerator in self._accelerators:
                accelerator.install()
            self._overrides.install()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def begin(self, calls: int, seed: int) -> dict[str, Any]:
        """Prepare for one call of the pipeline and return the arguments that it needs.

        Args:
            calls: UNet calls that the pipeline's call will make.
            seed: what random choices of the accelerators follow from.
        """
        self._clock.call = -1
        self._clock.calls = calls
        for accelerator in self._accelerators:
            accelerator.begin(seed)
        if self._clock.gate is None:
            return {}
        return {
            "callback_on_step_end": _drop_guidance(self._clock.gate, self._clock.gate_half),
            "callback_on_step_end_tensor_inputs": _conditioning(self._pipe),
        }

    def _counting(self, denoise: Callable[..., Opaque]) -> Callable[..., Opaque]:
        clock, accelerators = self._clock, self._accelerators

        def forward(*args: Opaque, **kwargs: Opaque) -> Opaque:
            clock.call += 1
            for accelerator in accelerators:
                accelerator.step()
            return denoise(*args, **kwargs)

        return forward

    def _remove(self) -> None:
        self._overrides.restore()
        for accelerator in reversed(self._accelerators):
            accelerator.remove()
        if self._guidance_scale is None:
            self._pipe.__dict__.pop("_guidance_scale", None)
        else:
            self._pipe._guidance_scale = self._guidance_scale


def _compiled(unet_forward: Callable[..., Opaque], name: str) -> Callable[..., Opaque]:
    """Compile the UNet as it stands with one configuration's replacements in it.

    torch keeps the graphs of all configurations together, under the code that they share, and
    chooses by guards. Whether these notice another ``forward`` in a module's dictionary is not
    promised, so each configuration has a name that they do compare.
    """
    import torch

    # one graph for each configuration and each of its kinds of call
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else None
    setattr(torch._dynamo.config, limit or "cache_size_limit", 256)

    def forward(*args: Opaque, **kwargs: Opaque) -> Opaque:
        if not name:
            raise ValueError("a configuration has a name")
        return unet_forward(*args, **kwargs)

    compiled: Callable[..., Opaque] = torch.compile(forward, dynamic=False)
    return compiled


def _drop_guidance(gate: int, half: int) -> StepEnd:
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


def _conditioning(pipe: Pipeline) -> list[str]:
    """Return the names of the loop's tensors that hold an unconditional and a conditional half."""
    names = ("prompt_embeds", "add_text_embeds", "add_time_ids")
    return [name for name in names if name in pipe._callback_tensor_inputs]
