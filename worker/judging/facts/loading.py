"""What the keywords of loading functions choose: where files come from, or what is loaded."""

from __future__ import annotations

from collections.abc import Mapping

# Keywords that say where files are and how they are read, not what they hold.
READING = frozenset(
    [
        "cache_dir",
        "disable_mmap",
        "force_download",
        "local_dir",
        "local_files_only",
        "low_cpu_mem_usage",
        "max_memory",
        "mirror",
        "offload_folder",
        "offload_state_dict",
        "output_loading_info",
        "proxies",
        "resume_download",
        "token",
        "trust_remote_code",
        "use_auth_token",
        "use_safetensors",
    ]
)
# Keywords of a pipeline's loading that never touch the denoising, or stand in fields of their own.
OF_PIPELINES = READING | frozenset(
    [
        "add_watermark",
        "add_watermarker",
        "device_map",
        "dtype",
        "feature_extractor",
        "image_encoder",
        "load_safety_checker",
        "pretrained_model_link_or_path",
        "pretrained_model_name_or_path",
        "requires_safety_checker",
        "safety_checker",
        "scheduler",
        "torch_dtype",
    ]
)
# Keywords of a part's loading that stand in fields of their own.
OF_PARTS = READING | frozenset(
    [
        "device_map",
        "dtype",
        "pretrained_model_link_or_path_or_dict",
        "pretrained_model_name_or_path",
        "torch_dtype",
    ]
)
# Values with which a keyword chooses nothing. A variant for half precision holds the same weights.
CHOOSES_NOTHING: Mapping[str, tuple[object, ...]] = {
    "custom_pipeline": (None,),
    "quantization_config": (None,),
    "revision": (None, "main"),
    "variant": (None, "fp16", "bf16"),
}
# Keywords of a pipeline's loading that choose other weights, also of its parts.
CHOOSING = frozenset(["config", "original_config", "quantization_config", "revision", "variant"])
# The classes by which the parts of Stable Diffusion are loaded; another one may make another model.
USUAL_CLASSES: Mapping[str, frozenset[str]] = {
    "unet": frozenset({"AutoModel", "UNet2DConditionModel"}),
    "vae": frozenset({"AutoModel", "AutoencoderKL"}),
    "text_encoder": frozenset({"CLIPTextModel"}),
    "text_encoder_2": frozenset({"CLIPTextModelWithProjection"}),
    "tokenizer": frozenset({"AutoTokenizer", "CLIPTokenizer", "CLIPTokenizerFast"}),
    "tokenizer_2": frozenset({"AutoTokenizer", "CLIPTokenizer", "CLIPTokenizerFast"}),
}
