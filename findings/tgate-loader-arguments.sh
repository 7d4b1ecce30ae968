#!/usr/bin/env bash
# T-GATE's loaders take a gate_step and ignore it.
#
# package   tgate 1.0.0, with diffusers 0.42.1
# date      2026-11-28
# expected  TgateSDLoader(pipe, gate_step=4) gates at step 4, or refuses an argument that it does not know
# happens   the loader takes any keyword and uses none. Only the argument of pipe.tgate(...) counts, and
#           where it is left out its default, 10: of 8 steps none is gated.
# matters   a file that gives the gate to the loader alone runs at the full price or with another gate than
#           it says. worker/judging reads the call's arguments, not the loader's.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'tgate==1.0.0' 'diffusers==0.42.1' 'torch==2.13.0' 'transformers==5.24.0' 'accelerate==1.15.0'

venv/bin/python -I - <<'PYTHON'
import importlib.metadata
import sys

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tgate import TgateSDLoader

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


print("tgate", importlib.metadata.version("tgate"))
batches = []  # the UNet's batch in each call: 2 with guidance, 1 behind the gate
unet.register_forward_pre_hook(lambda _, arguments: batches.append(len(arguments[0])))
gated = TgateSDLoader(pipe, gate_step=4, num_inference_steps=8)

gated.tgate(**given())
by_loader = batches.copy()
batches.clear()
gated.tgate(**given(), gate_step=4)
by_call = batches.copy()

print(f"gate_step=4 given to the loader: batches of {by_loader}")
print(f"gate_step=4 given to the call:   batches of {by_call}")
if (by_loader, by_call) != ([2] * 8, [2] * 4 + [1] * 4):
    sys.exit("this has changed")
PYTHON
