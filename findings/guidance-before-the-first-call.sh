#!/usr/bin/env bash
# A pipeline cannot be asked whether it guides before it has been called, and then answers for that call.
#
# package   diffusers 0.42.1
# date      2026-11-29
# expected  pipe.do_classifier_free_guidance is a public property: true or false, by the pipeline's default
#           guidance scale as long as no call asked for another
# happens   before the first call it raises AttributeError, which says that the pipeline has no such attribute
#           (what is missing is the scale of a call, a private attribute). Afterwards it answers for the last
#           call, whatever the next one will ask for.
# matters   code that prepares a call by it fails on a new pipeline, or goes by an earlier call's scale. The worker
#           asks with the call's own scale set.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'diffusers==0.42.1' 'torch==2.13.0' 'transformers==5.24.0'

venv/bin/python -I -W ignore - <<'PYTHON'
import importlib.metadata
import sys

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)

# A Stable Diffusion of the published structure with few and narrow layers; its prompt is given encoded.
torch.manual_seed(0)
unet = UNet2DConditionModel(
    sample_size=8,
    block_out_channels=(32, 64),
    layers_per_block=1,
    cross_attention_dim=16,
    norm_num_groups=8,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
)
pipe = StableDiffusionPipeline(
    vae=AutoencoderKL(block_out_channels=(32,), norm_num_groups=8),
    text_encoder=None,
    tokenizer=None,
    unet=unet,
    scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
    safety_checker=None,
    feature_extractor=None,
    requires_safety_checker=False,
)
pipe.set_progress_bar_config(disable=True)


def asked():
    try:
        return str(pipe.do_classifier_free_guidance)
    except AttributeError as error:
        return f"AttributeError: {error}"


print("diffusers", importlib.metadata.version("diffusers"))
before = asked()
pipe(
    prompt_embeds=torch.randn(1, 4, 16),
    negative_prompt_embeds=torch.randn(1, 4, 16),
    num_inference_steps=2,
    guidance_scale=1.0,
    height=16,
    width=16,
    output_type="latent",
)
after = asked()
print(f"before the first call: {before}")
print(f"after a call with guidance_scale 1: {after}; its own default scale is 7.5")
if "has no attribute 'do_classifier_free_guidance'" not in before or after != "False":
    sys.exit("this has changed")
PYTHON
