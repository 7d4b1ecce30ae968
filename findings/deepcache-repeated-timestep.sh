#!/usr/bin/env bash
# DeepCache's helper takes a repeated timestep for the first one, and then refreshes too seldom or never.
#
# package   DeepCache 0.1.1 (DeepCacheSDHelper), with diffusers 0.42.1
# date      2026-11-28
# expected  with cache_interval=2 every second call of the UNet is computed whole, as the README says of
#           the interval
# happens   the helper finds the number of the step by looking for the timestep's value in the scheduler's
#           list. PNDM's list has one value twice: its second refresh comes two calls late. Heun's list has
#           every value but the first twice, so an even interval refreshes once, at the beginning, and all
#           later calls reuse that first feature. Nothing is said.
# matters   images get worse and times better than the interval asks for; a table of speed-up against
#           quality shows points that are not what their labels say. worker/accelerators/deepcache.py
#           counts calls instead.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'DeepCache==0.1.1' 'diffusers==0.42.1' 'torch==2.13.0' 'transformers==5.24.0' 'accelerate==1.15.0'

venv/bin/python -I - <<'PYTHON'
import importlib.metadata
import sys

import torch
from DeepCache import DeepCacheSDHelper
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
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


def computed_whole(scheduler):
    """Return how many calls the UNet gets, and which of them reach its middle."""
    pipe.scheduler = scheduler
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=2, cache_branch_id=0)
    helper.enable()
    calls, whole = 0, []
    wrapped = unet.forward

    def counted(*arguments, **options):
        nonlocal calls
        calls += 1
        return wrapped(*arguments, **options)

    unet.forward = counted
    hook = unet.mid_block.resnets[0].register_forward_hook(lambda *_: whole.append(calls - 1))
    pipe(**given())
    hook.remove()
    helper.disable()
    return calls, whole


print("DeepCache", importlib.metadata.version("DeepCache"))
training = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
seen = {
    "DDIM": computed_whole(DDIMScheduler(steps_offset=1, clip_sample=False, **training)),
    "PNDM": computed_whole(PNDMScheduler(skip_prk_steps=True, steps_offset=1, **training)),
    "Heun": computed_whole(HeunDiscreteScheduler(**training)),
}
for name, (calls, whole) in seen.items():
    print(f"{name}: {calls} calls, interval 2: computed whole at {whole}")
if seen != {"DDIM": (8, [0, 2, 4, 6]), "PNDM": (9, [0, 4, 6, 8]), "Heun": (15, [0])}:
    sys.exit("this has changed")
PYTHON
