#!/usr/bin/env bash
# A pipeline that has run T-GATE once draws other images in a plain call afterwards.
#
# package   tgate 1.0.0, with diffusers 0.42.1
# date      2026-11-28
# expected  pipe.tgate(...) accelerates that call; pipe(...) afterwards draws what it drew before
# happens   every attention module keeps its new forward and the attention cached in the last T-GATE call,
#           and the plain call goes through both. The package has no way to take them off again.
# matters   a baseline measured on such a pipeline is no baseline: it is drawn with another prompt's cached
#           attention. The T-GATE in worker/accelerators/tgate.py is undone, bit for bit.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'tgate==1.0.0' 'diffusers==0.42.1' 'torch==2.13.0' 'transformers==5.24.0' 'accelerate==1.15.0'

venv/bin/python -I - <<'PYTHON'
import importlib.metadata
import sys

import tgate
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


def plain():
    return pipe(**given()).images


print("tgate", importlib.metadata.version("tgate"))
before = plain()
repeatable = torch.equal(before, plain())
tgate.TgateSDLoader(pipe).tgate(**given(), gate_step=4)
after = plain()
off = [name for name in dir(tgate) if name.lower().startswith(("un", "remove", "disable"))]

print(f"two plain calls before T-GATE are equal: {repeatable}")
print(f"a plain call after it: latents differ by up to {(after - before).abs().max():.2f}")
print(f"functions of the package that take it off: {off or 'none'}")
if not repeatable or torch.equal(before, after) or off:
    sys.exit("this has changed")
PYTHON
