#!/usr/bin/env bash
# Without classifier-free guidance, T-GATE averages the images of a batch with each other.
#
# package   tgate 1.0.0, with diffusers 0.42.1
# date      2026-11-29
# expected  with guidance_scale=1, or a UNet that has a guidance embedding (time_cond_proj_dim, the latent
#           consistency models of its README), an image of a batch does not depend on its neighbour's prompt
# happens   at the gate the batch is halved as if it held an unconditional and a conditional half: the two images
#           of a batch are averaged, and of a single image the call fails. Of all loaders' calls only SDXL's has an
#           argument against it, lcm=True.
# matters   the pipeline's own do_classifier_free_guidance says whether the batch was doubled, and the T-GATE in
#           worker/accelerators/tgate.py asks it; files that call the package in this way are not measured.
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



def pipeline(**more):
    """Return a Stable Diffusion of the published structure with few and narrow layers."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=16,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **more,
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
    return tgate.TgateSDLoader(pipe)


def images(pipe, guidance, *texts):
    """Return the latent images of encoded prompts, drawn from the same starting latents every time."""
    for module in pipe.unet.modules():
        vars(module).pop("cache", None)
    return pipe.tgate(
        prompt_embeds=torch.cat(texts),
        negative_prompt_embeds=torch.zeros(len(texts), 4, 16),
        guidance_scale=guidance,
        num_inference_steps=8,
        gate_step=4,
        height=8,
        width=8,
        output_type="latent",
        generator=[torch.Generator().manual_seed(number) for number in range(len(texts))],
    ).images


def change(pipe, guidance):
    """Return by how much an image changes where the other prompt of its batch does."""
    first, second = images(pipe, guidance, one, two), images(pipe, guidance, one, three)
    return (first[0] - second[0]).abs().max().item()


one, two, three = torch.randn(3, 1, 4, 16)
print("tgate", importlib.metadata.version("tgate"))
plain, embedded = pipeline(), pipeline(time_cond_proj_dim=16)
found = {
    "guidance 5": change(plain, 5.0),
    "guidance 1": change(plain, 1.0),
    "guidance 5, a UNet with a guidance embedding": change(embedded, 5.0),
}
for name, difference in found.items():
    print(f"{name}: with another neighbour an image changes by up to {difference:.5f}")
try:
    images(plain, 1.0, one)
    alone = "it works"
except ValueError as error:
    alone = f"ValueError: {error}"
print(f"guidance 1, a single image: {alone}")
guided, *others = found.values()
if guided or not all(others) or alone == "it works":
    sys.exit("this has changed")
PYTHON
