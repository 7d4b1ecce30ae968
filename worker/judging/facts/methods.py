"""What the methods of pipelines, of their parts and of noise schedulers change."""

from __future__ import annotations

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
# What a method undoes.
UNDOES = {
    "unfuse_qkv_projections": "fuse_qkv_projections",
    "unload_lora_weights": "load_lora_weights",
    "unfuse_lora": "fuse_lora",
    "unload_ip_adapter": "load_ip_adapter",
}
