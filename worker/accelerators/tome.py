"""ToMe: merge similar tokens before attention and copy them apart afterwards.

Daniel Bolya and Judy Hoffman, "Token Merging for Fast Stable Diffusion", CVPR-W 2023, through the
authors' package (tomesd 0.1.3), which computes the method as published. Two things are added here:
the random choice of destination tokens starts anew from each image's seed, and removing leaves none
of the package's attributes behind.
"""

from __future__ import annotations

from typing import Any

from worker.accelerators.base import Clock
from worker.types import Module, Pipeline


class ToMe:
    """Token merging on the transformer blocks of a pipeline's UNet."""

    def __init__(self, ratio: float, max_downsample: int = 1, **arguments: bool | int) -> None:
        self.arguments: dict[str, Any] = {
            "ratio": ratio,
            "max_downsample": max_downsample,
            **arguments,
        }
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
