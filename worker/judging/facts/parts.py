"""The parts of pipelines, and attributes of either that hold plain values."""

from __future__ import annotations

# The attributes of pipelines that hold a model, or what prepares its input.
COMPONENTS = frozenset(
    [
        "unet",
        "transformer",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
        "tokenizer",
        "tokenizer_2",
        "tokenizer_3",
        "feature_extractor",
        "image_encoder",
        "controlnet",
        "safety_checker",
    ]
)
# Those that never touch the denoising.
UNSEEN = frozenset({"safety_checker", "feature_extractor"})
# Those that LoRA, textual inversion, FreeU and the like change.
CHANGED_BY_METHODS = frozenset(
    [
        *("text_encoder", "text_encoder_2", "text_encoder_3"),
        *("tokenizer", "tokenizer_2", "tokenizer_3"),
        *("transformer", "unet"),
    ]
)
# Attributes with plain values: what is done with such a value does not reach its owner.
PLAIN_ATTRIBUTES = frozenset(
    ["_execution_device", "device", "dtype", "in_channels", "ndim", "shape", "vae_scale_factor"]
)
