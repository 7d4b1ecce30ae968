"""The component configurations of SD1.5, SD2.1 and SDXL: as published, and tiny.

The published numbers are those of the ``config.json`` files beside the released weights
(stable-diffusion-v1-5, stable-diffusion-2-1, stable-diffusion-xl-base-1.0). The tiny ones keep the
structure (kinds and number of blocks, layers per block, where attention sits, how the text
conditions the image) and shrink the widths. Plain dictionaries: nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]


@dataclass(frozen=True)
class Components:
    """Keyword arguments of the classes that a pipeline is made of."""

    unet: Config
    vae: Config
    text_encoder: Config
    scheduler: Config
    text_encoder_2: Config | None = None
    """SDXL's second text encoder, which also gives the pooled text embedding."""


_CROSS = "CrossAttnDownBlock2D"
_CROSS_UP = "CrossAttnUpBlock2D"

_UNET_SD15: Config = {
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
_UNET_SD21: Config = _UNET_SD15 | {
    "sample_size": 96,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
    "upcast_attention": True,
}
_UNET_SDXL: Config = _UNET_SD15 | {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", _CROSS, _CROSS),
    "up_block_types": (_CROSS_UP, _CROSS_UP, "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_VAE: Config = {
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
_TEXT: Config = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "bos_token_id": 0,
    # below 3 the text encoder takes the highest token as a text's end, as OpenAI's CLIP does
    "eos_token_id": 2,
}
_SCHEDULER: Config = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
}

PUBLISHED: Mapping[str, Components] = {
    "sd15": Components(_UNET_SD15, _VAE, _TEXT, _SCHEDULER),
    "sd21": Components(
        _UNET_SD21,
        _VAE | {"sample_size": 768},
        _TEXT
        | {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,
            "num_attention_heads": 16,
            "projection_dim": 512,
            "hidden_act": "gelu",
        },
        _SCHEDULER | {"prediction_type": "v_prediction"},
    ),
    "sdxl": Components(
        _UNET_SDXL,
        _VAE | {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
        _TEXT,
        _SCHEDULER,
        text_encoder_2=_TEXT
        | {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 20,
            "projection_dim": 1280,
            "hidden_act": "gelu",
        },
    ),
}

_TINY_TEXT: Config = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 32,
}
_TINY_VAE: Config = {
    "layers_per_block": 1,
    "block_out_channels": (8, 16, 16, 16),
    "norm_num_groups": 4,
    "sample_size": 64,
}


def tiny(architecture: str) -> Components:
    """Return the architecture shrunk to about two million parameters and 64 x 64 px images."""
    full = PUBLISHED[architecture]
    unet = full.unet | {
        "sample_size": 8,
        "block_out_channels": (32, 64, 64, 64)[: len(full.unet["block_out_channels"])],
        "norm_num_groups": 16,
        "cross_attention_dim": 32,
    }
    if isinstance(full.unet["attention_head_dim"], tuple):
        unet["attention_head_dim"] = (2, 4, 4, 4)[: len(full.unet["block_out_channels"])]
    if full.text_encoder_2 is None:
        return Components(
            unet, full.vae | _TINY_VAE, full.text_encoder | _TINY_TEXT, full.scheduler
        )
    pooled, time_ids, time_width = 32, 6, 8
    unet |= {
        "transformer_layers_per_block": (1, 2, 2),
        # SDXL concatenates the token embeddings of both text encoders
        "cross_attention_dim": 64,
        "addition_time_embed_dim": time_width,
        "projection_class_embeddings_input_dim": pooled + time_ids * time_width,
    }
    return Components(
        unet,
        full.vae | _TINY_VAE,
        full.text_encoder | _TINY_TEXT,
        full.scheduler,
        text_encoder_2=full.text_encoder_2 | _TINY_TEXT,
    )
