#!/usr/bin/env bash
# tomesd draws from a random generator of its own: the seed given to the pipeline does not fix the image.
#
# package   tomesd 0.1.3, with diffusers 0.42.1
# date      2026-11-28
# expected  two calls with the same prompt and generator=torch.Generator().manual_seed(0) draw the same
#           image, as without the patch
# happens   tomesd makes a generator at the first call and goes on with it, so the tokens that are merged
#           differ from call to call
# matters   an image cannot be drawn again, and paired figures (PSNR, SSIM against the baseline's image)
#           change with how many images came before. worker/accelerators/tome.py starts the generator anew
#           from each image's seed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'tomesd==0.1.3' 'diffusers==0.42.1' 'torch==2.13.0' 'transformers==5.24.0' 'accelerate==1.15.0'

venv/bin/python -I - <<'PYTHON'
import importlib.metadata
import sys

import tomesd
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
text = torch.randn(2, 4, 16)


def given(size=8):
    """Return the arguments of a call: the same prompt and the same starting latents every time."""
    return {
        "prompt_embeds": text[:1],
        "negative_prompt_embeds": text[1:],
        "num_inference_steps": 8,
        "height": size,
        "width": size,
        "output_type": "latent",
        "generator": torch.Generator().manual_seed(0),
    }


def difference():
    """Return by how much the latents of two calls with the same seed differ."""
    return (pipe(**given(size=64)).images - pipe(**given(size=64)).images).abs().max().item()


print("tomesd", importlib.metadata.version("tomesd"))
without = difference()
tomesd.apply_patch(pipe, ratio=0.5)
patched = difference()

print(f"latents of two calls with the same seed differ by {without} without ToMe")
print(f"and by up to {patched:.2f} with it")
if without != 0 or patched == 0:
    sys.exit("this has changed")
PYTHON
