"""Pipelines whose UNet has a guidance embedding, as latent consistency models have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH = 256  # as published ones have it


def with_guidance_embedding(pipeline: Any) -> Any:
    """Return a pipeline of the same parts and weights, whose UNet is told the guidance scale."""
    return type(pipeline)(
        **{**pipeline.components, "unet": _embedding(pipeline.unet)},
        **_options(pipeline),
    )


def guidance_embedding(folder: Path) -> None:
    """Give the UNet of a model's folder a guidance embedding."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    _embedding(unet).save_pretrained(folder / "unet")


def _embedding(unet: Any) -> Any:
    import torch

    changed = type(unet).from_config({**unet.config, "time_cond_proj_dim": WIDTH}).eval()
    lacking, _ = changed.load_state_dict(unet.state_dict(), strict=False)
    assert lacking == ["time_embedding.cond_proj.weight"]
    weight = changed.time_embedding.cond_proj.weight
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) / WIDTH)
    return changed


def _options(pipeline: Any) -> dict[str, bool]:
    kinds = {"StableDiffusionPipeline": "requires_safety_checker"}
    name = kinds.get(type(pipeline).__name__, "add_watermarker")
    return {name: False}
