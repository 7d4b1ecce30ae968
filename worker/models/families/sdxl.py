"""Stable Diffusion XL: a UNet, and two CLIP text encoders, of which the second gives a pooled text.

The published numbers are those of the ``config.json`` files beside the released weights
(stable-diffusion-xl-base-1.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from worker.models.families import clip, sd
from worker.models.families.base import (
    Architecture,
    Components,
    Config,
    Pipe,
    miniature_pipe,
    tiny_pipe,
)
from worker.types import Opaque

_SDXL: Components = {
    "unet": sd.UNET
    | {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    "vae": sd.VAE | {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
    "text_encoder": clip.TEXT_ENCODER,
    "text_encoder_2": clip.TEXT_ENCODER
    | {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    },
    "scheduler": sd.SCHEDULER,
}
# a pooled text of 32 numbers beside six sizes (original, crop, target), each embedded in 8
_TIME_WIDTH = 8
_PROJECTED = 32 + 6 * _TIME_WIDTH

SDXL = Architecture("sdxl", "sdxl", 3, attention_downsamples=(2, 4), guidance_scale=5.0)
# the trained miniature has fewer layers, and needs less guidance (docs/shapes.md)
_SHAPES = Architecture("sdxl", "sdxl", 3, (2, 4), guidance_scale=3.0, layers=1)


class StableDiffusionXL(sd.StableDiffusion):
    """Pipelines whose UNet is conditioned by the text as a whole, too."""

    name = "sdxl"
    pipeline_class = "StableDiffusionXLPipeline"
    # where its package is installed, watermarks are drawn on the CPU and timed with the rest
    options: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"add_watermarker": False, "feature_extractor": None, "image_encoder": None}
    )
    text_encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer", "tokenizer_2")
    pipes: ClassVar[tuple[Pipe, ...]] = (
        Pipe(
            "SDXL",
            SDXL,
            "stabilityai/stable-diffusion-xl-base-1.0",
            1024,
            call_seconds=0.0425,
            image_seconds=0.1,
        ),
        tiny_pipe("TINY_SDXL", SDXL),
        miniature_pipe("SHAPES_SDXL", _SHAPES),
    )
    unlisted = SDXL
    published: ClassVar[Mapping[str, Components]] = {"sdxl": _SDXL}
    pooled = True

    def tiny(self, architecture: str) -> Components:
        """Return the architecture with about two million parameters."""
        tiny = super().tiny(architecture)
        unet = tiny["unet"] | {
            "transformer_layers_per_block": (1, 2, 2),
            # the token embeddings of both text encoders, one behind the other
            "cross_attention_dim": 64,
            "addition_time_embed_dim": _TIME_WIDTH,
            "projection_class_embeddings_input_dim": _PROJECTED,
        }
        return {**tiny, "unet": unet}

    def another_kind(self, configs: Mapping[str, Config]) -> str | None:
        """Return why a UNet is not one of Stable Diffusion XL's base model, or None."""
        unet, pooled = configs.get("unet", {}), configs.get("text_encoder_2", {})
        reads = unet.get("projection_class_embeddings_input_dim")
        each, width = unet.get("addition_time_embed_dim"), pooled.get("projection_dim")
        if isinstance(reads, int) and isinstance(each, int) and isinstance(width, int):
            # original size, crop and target size, two numbers each; a refiner's has one in place of two
            if reads == width + 5 * each:
                return "its UNet is a refiner's, which goes on with the images of another model"
            if reads != width + 6 * each:
                return (
                    f"its UNet reads {reads} numbers of the whole text and of sizes, where its text "
                    f"encoder and six sizes give {width + 6 * each}: the parts are not of one model"
                )
        return super().another_kind(configs)

    def build(self, components: Components) -> dict[str, Opaque]:
        """Return the parts of Stable Diffusion, and the second text encoder and tokenizer."""
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        parts = super().build(components)
        config = CLIPTextConfig(**components["text_encoder_2"])
        parts["text_encoder_2"] = CLIPTextModelWithProjection(config).eval()
        parts["tokenizer_2"] = clip.make_tokenizer(padding="!")
        return parts


FAMILY = StableDiffusionXL()
