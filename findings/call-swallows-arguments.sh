#!/usr/bin/env bash
# A Stable Diffusion pipeline's call takes arguments that do not exist, and ignores them.
#
# package   diffusers 0.42.1
# date      2026-11-28
# expected  pipe(prompt, seed=1) raises a TypeError, as pipe(prompt, sed=1) does for most Python functions
# happens   StableDiffusionPipeline and StableDiffusionXLPipeline end their signature with **kwargs, for two
#           arguments of earlier versions; whatever else is given vanishes in it without a word. Two calls with
#           seed=1 give two images. FluxPipeline and StableDiffusion3Pipeline refuse the same.
# matters   language models and people write seed=, guidance= or cfg_scale= there; the file runs and does not do
#           what it says. Judging counts such arguments as the nothing that they are.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'diffusers==0.42.1' 'torch==2.13.0' 'transformers==5.24.0' 'accelerate==1.15.0'

venv/bin/python -I - <<'PYTHON'
import inspect
import sys

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

# A Stable Diffusion of the published structure with few and narrow layers; its prompt is given encoded.
torch.manual_seed(0)
pipe = StableDiffusionPipeline(
    vae=AutoencoderKL(block_out_channels=(32,), norm_num_groups=8),
    text_encoder=None,
    tokenizer=None,
    unet=UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=16,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
    safety_checker=None,
    feature_extractor=None,
    requires_safety_checker=False,
)
pipe.set_progress_bar_config(disable=True)
text = torch.randn(2, 4, 16)


def drawn(**more):
    return pipe(
        prompt_embeds=text[:1],
        negative_prompt_embeds=text[1:],
        num_inference_steps=2,
        output_type="latent",
        **more,
    ).images


print("diffusers", diffusers.__version__)
try:
    equal = torch.equal(drawn(seed=1, cfg_scale=3.0), drawn(seed=1, cfg_scale=3.0))
    print(f"seed=1 and cfg_scale=3.0 are taken; two calls with them are equal: {equal}")
except TypeError as error:
    sys.exit(f"this has changed: {error}")
swallow = {
    name: any(
        parameter.kind is parameter.VAR_KEYWORD
        for parameter in inspect.signature(getattr(diffusers, name).__call__).parameters.values()
    )
    for name in (
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "FluxPipeline",
        "StableDiffusion3Pipeline",
    )
}
print("take any argument:", swallow)
if equal or list(swallow.values()) != [True, True, False, False]:
    sys.exit("this has changed")
PYTHON
