"""What the methods of pipelines, of their parts and of noise schedulers change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Pipeline methods that change neither images nor, by design, speed.
NEUTRAL_METHODS = frozenset(
    [
        "set_progress_bar_config",
        "progress_bar",
        "maybe_free_model_hooks",
        "remove_all_hooks",
        "save_pretrained",
        "register_to_config",
        "enable_attention_slicing",
        "disable_attention_slicing",
        "enable_vae_slicing",
        "disable_vae_slicing",
        "enable_vae_tiling",
        "disable_vae_tiling",
        "encode_prompt",
        "check_inputs",
        "eval",
        "train",
        "upcast_vae",
        "requires_grad_",
    ]
)
# Methods of a pipeline's parts, and of what is inside of these, that change nothing either.
NEUTRAL_PART_METHODS = frozenset(
    [
        "buffers",
        "children",
        "decode",
        "detach",
        "disable_slicing",
        "disable_tiling",
        "element_size",
        "enable_gradient_checkpointing",
        "enable_slicing",
        "enable_tiling",
        "encode",
        "eval",
        "forward",
        "get",
        "get_memory_footprint",
        "items",
        "keys",
        "modules",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "num_parameters",
        "numel",
        "parameters",
        "requires_grad_",
        "save_pretrained",
        "set_attention_slice",
        "size",
        "state_dict",
        "values",
        "zero_grad",
    ]
)
# Methods of a noise scheduler that leave what it computes in the next call as it is.
NEUTRAL_SCHEDULER_METHODS = frozenset(
    ["add_noise", "get_velocity", "save_pretrained", "scale_model_input", "set_timesteps", "step"]
)


@dataclass(frozen=True)
class Effect:
    """What a method of a pipeline does to one of the pipeline's settings."""

    # sets: a later call takes the place of an earlier one; adds: it comes on top; ends: the
    # setting holds no longer; unclear: what a second call comes to is not known.
    kind: Literal["sets", "adds", "ends", "unclear"]
    settings: tuple[str, ...]
    # Whether an argument names what it does it to: without one it does it to all.
    selects: bool = False
    # The setting without which it does nothing, and those that it takes back.
    needs: str = ""
    resets: tuple[str, ...] = ()


# Methods of a pipeline. Those that are not here are kept under their own names; `disable_X` ends
# `enable_X`. LoRA has rules of its own (static/libraries/lora.py).
EFFECTS: dict[str, Effect] = {
    "fuse_qkv_projections": Effect("sets", ("fuse_qkv_projections",)),
    "unfuse_qkv_projections": Effect("ends", ("fuse_qkv_projections",)),
    "enable_model_cpu_offload": Effect("sets", ("enable_model_cpu_offload",)),
    "enable_sequential_cpu_offload": Effect("sets", ("enable_sequential_cpu_offload",)),
    "enable_xformers_memory_efficient_attention": Effect(
        "sets", ("enable_xformers_memory_efficient_attention",)
    ),
    "load_textual_inversion": Effect("adds", ("load_textual_inversion",)),
    "unload_textual_inversion": Effect("ends", ("load_textual_inversion",), selects=True),
    "load_ip_adapter": Effect("unclear", ("load_ip_adapter",), resets=("set_ip_adapter_scale",)),
    "set_ip_adapter_scale": Effect("sets", ("set_ip_adapter_scale",), needs="load_ip_adapter"),
    "unload_ip_adapter": Effect("ends", ("load_ip_adapter", "set_ip_adapter_scale")),
}
LORA_METHODS = frozenset(
    [
        "delete_adapters",
        "disable_lora",
        "enable_lora",
        "fuse_lora",
        "load_lora_weights",
        "set_adapters",
        "unfuse_lora",
        "unload_lora_weights",
    ]
)
# Of a pipeline they do the same as of its UNet.
FREEU = frozenset({"disable_freeu", "enable_freeu"})
# How the names of the methods begin that return nothing.
CHANGING = ("disable_", "enable_", "fuse_", "load_", "set_", "unfuse_", "unload_")
# After which a pipeline refuses to be moved to a GPU.
SEQUENTIAL = "enable_sequential_cpu_offload"
# The device map with which a pipeline refuses to be moved at all.
SPLIT = "balanced"
OFFLOADING = frozenset({"enable_model_cpu_offload", SEQUENTIAL})


def effect_of(method: str) -> Effect:
    """Return what a method of a pipeline does to its settings."""
    known = EFFECTS.get(method)
    if known is not None:
        return known
    if method.startswith("disable_"):
        return Effect("ends", ("enable_" + method.removeprefix("disable_"),))
    return Effect("unclear", (method,))
