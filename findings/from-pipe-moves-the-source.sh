#!/usr/bin/env bash
# Making a second pipeline with from_pipe turns the first one's half-precision models into float32.
#
# package   diffusers 0.42.1
# date      2026-11-28
# expected  StableDiffusionImg2ImgPipeline.from_pipe(pipe) takes the models as they are, without more memory,
#           as its documentation says; AutoPipelineForImage2Image.from_pipe(pipe) does
# happens   without torch_dtype, DiffusionPipeline.from_pipe moves the models, which both pipelines share, to
#           float32: the source computes in float32 from then on and holds twice the memory
# matters   a program that makes an image-to-image pipeline beside its float16 one measures float32 in both,
#           at half the speed. Judging says so of such programs: see from_pipe in worker/judging/static.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'diffusers==0.42.1' 'torch==2.13.0' 'transformers==5.24.0' 'accelerate==1.15.0'

venv/bin/python -I - <<'PYTHON'
import sys

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    AutoPipelineForImage2Image,
    DDIMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)


def in_half_precision():
    """Return a Stable Diffusion of the published structure with few and narrow layers, in float16."""
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
    return pipe.to(torch.float16)


def source_after(make):
    source = in_half_precision()
    before = source.unet.dtype
    other = make(source)
    print(f"{make.__self__.__name__}.from_pipe: the source's UNet was {before}, is {source.unet.dtype}; "
          f"shared: {other.unet is source.unet}")
    return source.unet.dtype


print("diffusers", diffusers.__version__)
by_pipeline = source_after(StableDiffusionImg2ImgPipeline.from_pipe)
by_auto = source_after(AutoPipelineForImage2Image.from_pipe)
if by_pipeline != torch.float32 or by_auto != torch.float16:
    sys.exit("this has changed")
PYTHON
