"""Several accelerators on one pipeline, in the order that is right for them.

ToMe exchanges the classes of the transformer blocks, T-GATE wraps the attention modules in them,
and DeepCache wraps the blocks around both. They share one clock; the UNet's ``forward`` moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from typing_extensions import Self

from worker.accelerators.base import Accelerator, Clock, Overrides
from worker.accelerators.deepcache import DeepCache
from worker.accelerators.guidance import GuidanceCutoff, conditioning, drop_guidance
from worker.accelerators.tgate import TGate
from worker.accelerators.tome import ToMe
from worker.types import Opaque, Pipeline

IN_ORDER: Mapping[str, Callable[..., Accelerator]] = {
    "tome": ToMe,
    "tgate": TGate,
    "guidance_cutoff": GuidanceCutoff,
    "deepcache": DeepCache,
}


class Accelerated:
    """A context in which a pipeline is accelerated, and after which it is as it was.

    It can be entered again and again: what is put in stays the same objects, so that a compiled
    UNet is compiled once for each configuration.

    Args:
        pipe: a Stable Diffusion pipeline (SD1.x, SD2.x or SDXL).
        accelerators: names from ``IN_ORDER`` with their parameters; none leaves ``pipe`` alone.
        compiled: compile the UNet as it is with these accelerators.

    Example::

        with Accelerated(pipe, {"deepcache": {"cache_interval": 3}}) as accelerated:
            images = pipe(prompts, **accelerated.begin(calls=50, seed=0)).images
    """

    def __init__(
        self,
        pipe: Pipeline,
        accelerators: Mapping[str, Mapping[str, Any]],
        compiled: bool = False,
    ) -> None:
        self._pipe = pipe
        self._clock = Clock()
        self._accelerators = [
            make(**accelerators[name]) for name, make in IN_ORDER.items() if name in accelerators
        ]
        for accelerator in self._accelerators:
            accelerator.prepare(pipe, self._clock)
        self._overrides = Overrides()
        unet_forward = pipe.unet.forward
        if compiled:
            unet_forward = _compiled(unet_forward, name=repr(accelerators))
        if self._accelerators or compiled:
            self._overrides.forward(pipe.unet, self._counting(unet_forward))
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

    def begin(self, calls: int, seed: int, guided: bool = True) -> dict[str, Any]:
        """Prepare for one call of the pipeline and return the arguments that it needs.

        Args:
            calls: UNet calls that the pipeline's call will make.
            seed: what random choices of the accelerators follow from.
            guided: whether the call uses classifier-free guidance.
        """
        self._clock.call = -1
        self._clock.calls = calls
        self._clock.guided = guided
        for accelerator in self._accelerators:
            accelerator.begin(seed)
        if self._clock.gate is None:
            return {}
        return {
            "callback_on_step_end": drop_guidance(self._clock.gate, self._clock.gate_half),
            "callback_on_step_end_tensor_inputs": conditioning(self._pipe),
        }

    def _counting(self, unet_forward: Callable[..., Opaque]) -> Callable[..., Opaque]:
        clock, accelerators = self._clock, self._accelerators

        def forward(*args: Opaque, **kwargs: Opaque) -> Opaque:
            clock.call += 1
            for accelerator in accelerators:
                accelerator.step()
            return unet_forward(*args, **kwargs)

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
