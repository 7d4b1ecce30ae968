"""The arguments of a pipeline's call: which change nothing, and which say what holds anyway."""

from __future__ import annotations

from worker.judging.facts.models import Model

# Call arguments that change neither what is computed nor how fast.
NEUTRAL_CALL = frozenset(
    [
        "generator",
        "return_dict",
        "callback_steps",
        "callback_on_step_end_tensor_inputs",
    ]
)
# An older argument that still counts although no signature names it.
LEGACY_CALLBACK = "callback"
# The argument by which adapters are weighted for one call.
LORA_SCALE = "cross_attention_kwargs"
# Formats of the images that are as good as each other; "latent" leaves out the decoding.
DECODED = frozenset({"pil", "np", "pt"})
# Defaults of call arguments where the pipeline's class, and so its signature, is not known.
CALL_DEFAULTS: dict[str, object] = {
    "eta": 0.0,
    "guidance_rescale": 0.0,
    "lcm": False,
    "output_type": "pil",
    "crops_coords_top_left": (0, 0),
    "negative_crops_coords_top_left": (0, 0),
}
# Arguments that stand for another one where they are not given.
SAME_AS = {
    "prompt_2": "prompt",
    "prompt_3": "prompt",
    "negative_prompt_2": "negative_prompt",
    "negative_prompt_3": "negative_prompt",
}
# Sizes that stand for the image's own where they are not given, in pipelines that make an image anew.
SIZES = ("original_size", "target_size")
SIZED = frozenset({"StableDiffusionXLPipeline", "StableDiffusionXLPAGPipeline"})


def empty_is_none(pipeline: object, model: Model | None) -> bool:
    """Whether an empty negative prompt does the same as none.

    Stable Diffusion 1 to 3 encode an empty text for none; XL does where its model does not ask for
    zeros (``force_zeros_for_empty_prompt``).
    """
    if not isinstance(pipeline, str) or not pipeline.startswith("StableDiffusion"):
        return False
    if not pipeline.startswith("StableDiffusionXL"):
        return True
    return model is not None and not model.zeros_for_none


def types_must_agree(pipeline: object) -> bool:
    """Whether a negative prompt has to be a text, or a list, as the prompt is."""
    return pipeline in (
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionControlNetPipeline",
    )
