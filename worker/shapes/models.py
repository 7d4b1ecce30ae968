"""The models: the classes of SD1.5, SDXL and CLIP, with few and narrow layers.

Pictures of 64 px become latents of 16 × 16. As in the large models, the UNet of SD1.5 attends to
text from its first resolution on (16 × 16, 8 × 8) and the UNet of SDXL from its second (8 × 8,
4 × 4); SDXL has two text encoders, of which the second also gives one vector for the whole
caption, and knows the picture's size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from worker.shapes.raster import IMAGE_SIZE
from worker.shapes.vocabulary import MAX_TOKENS

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from open_clip import CLIP
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

#: Channels, height and width of a picture's latents.
LATENT_SHAPE = (4, IMAGE_SIZE // 4, IMAGE_SIZE // 4)

# The scorer's text encoder, from which those of this width begin.
_TEXT_WIDTH, _TEXT_LAYERS, _TEXT_HEADS = 96, 3, 4
_SDXL_TEXT_WIDTHS = (64, _TEXT_WIDTH)
_SDXL_TIME_ID_WIDTH = 16  # of each of the six numbers that say the picture's size and crop

#: The noise of Stable Diffusion, as its repositories publish it. Like theirs it also holds what the
#: default noise scheduler does not ask for but others, built from its configuration, do.
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
}

#: What open_clip needs to know of the scorer; pixels from -1 to 1, as the generators see them.
SCORER_PREPROCESSING = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def build_autoencoder() -> AutoencoderKL:
    """64 px pictures to 4 × 16 × 16 latents and back."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=IMAGE_SIZE,
        latent_channels=LATENT_SHAPE[0],
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 40, 40),
        layers_per_block=1,
        norm_num_groups=8,
    )


def build_sd15_unet() -> UNet2DConditionModel:
    """The UNet of SD1.5: three resolutions, text attention in the first two and the middle."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=LATENT_SHAPE[1],
        in_channels=LATENT_SHAPE[0],
        out_channels=LATENT_SHAPE[0],
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(48, 80, 80),
        layers_per_block=1,
        # In this class's older configurations the number of heads has this name.
        attention_head_dim=(3, 5, 5),
        cross_attention_dim=_TEXT_WIDTH,
        norm_num_groups=16,
    )


def build_sdxl_unet() -> UNet2DConditionModel:
    """The UNet of SDXL: three resolutions, text attention in the last two and the middle."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=LATENT_SHAPE[1],
        in_channels=LATENT_SHAPE[0],
        out_channels=LATENT_SHAPE[0],
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 64, 80),
        layers_per_block=1,
        attention_head_dim=(3, 4, 5),
        cross_attention_dim=sum(_SDXL_TEXT_WIDTHS),
        norm_num_groups=16,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=_SDXL_TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=6 * _SDXL_TIME_ID_WIDTH + _SDXL_TEXT_WIDTHS[1],
    )


def build_sd15_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The text encoder of SD1.5; the UNet reads its last layer."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**_text_settings(tokenizer, _TEXT_WIDTH, _TEXT_LAYERS)))


def build_sdxl_text_encoders(
    tokenizer: CLIPTokenizer,
) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """The text encoders of SDXL; the UNet reads the last layer but one of both, side by side."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    small, large = _SDXL_TEXT_WIDTHS
    first = CLIPTextConfig(**_text_settings(tokenizer, small, layers=2))
    second = CLIPTextConfig(**_text_settings(tokenizer, large, _TEXT_LAYERS), projection_dim=large)
    return CLIPTextModel(first), CLIPTextModelWithProjection(second)


def scorer_settings(tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """The scorer in the words of an open_clip configuration."""
    return {
        "embed_dim": _TEXT_WIDTH,
        "vision_cfg": {
            "image_size": IMAGE_SIZE,
            "patch_size": 8,
            "layers": 4,
            "width": 96,
            "head_width": 24,
        },
        "text_cfg": {
            "context_length": MAX_TOKENS,
            "vocab_size": len(tokenizer),
            # open_clip replaces any name here by the folder that the configuration lies in.
            "hf_tokenizer_name": "scorer",
            "layers": _TEXT_LAYERS,
            "width": _TEXT_WIDTH,
            "heads": _TEXT_HEADS,
        },
    }


def build_scorer(tokenizer: CLIPTokenizer) -> CLIP:
    """A vision transformer and a text transformer with one space for both."""
    from open_clip import CLIP

    settings = scorer_settings(tokenizer)
    del settings["text_cfg"]["hf_tokenizer_name"]
    return CLIP(**settings)


@torch.no_grad()
def begin_as_scorer(encoder: CLIPTextModel | CLIPTextModelWithProjection, scorer: CLIP) -> None:
    """Give a text encoder of transformers the weights of the scorer's.

    As in the large models, whose text encoders are those of CLIPs. Both have one shape.
    """
    text = encoder.text_model if hasattr(encoder, "text_model") else encoder
    text.embeddings.token_embedding.weight.copy_(scorer.token_embedding.weight)
    text.embeddings.position_embedding.weight.copy_(scorer.positional_embedding)
    for layer, block in zip(text.encoder.layers, scorer.transformer.resblocks, strict=True):
        attention = layer.self_attn
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        weights, biases = block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3)
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
        attention.out_proj.load_state_dict(block.attn.out_proj.state_dict())
        layer.layer_norm1.load_state_dict(block.ln_1.state_dict())
        layer.layer_norm2.load_state_dict(block.ln_2.state_dict())
        layer.mlp.fc1.load_state_dict(block.mlp.c_fc.state_dict())
        layer.mlp.fc2.load_state_dict(block.mlp.c_proj.state_dict())
    text.final_layer_norm.load_state_dict(scorer.ln_final.state_dict())
    if hasattr(encoder, "text_projection"):
        encoder.text_projection.weight.copy_(scorer.text_projection.T)


def _text_settings(tokenizer: CLIPTokenizer, width: int, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_TOKENS,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": _TEXT_HEADS,
        "hidden_act": "gelu",
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
