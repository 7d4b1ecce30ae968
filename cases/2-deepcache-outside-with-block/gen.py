from contextlib import contextmanager

import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, StableDiffusionPipeline


@contextmanager
def deepcache(pipe, interval, branch=0):
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=interval, cache_branch_id=branch)
    helper.enable()
    try:
        yield helper
    finally:
        helper.disable()


pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)

with deepcache(pipe, interval=3):
    pipe("warm-up", num_inference_steps=50)
image = pipe("a cat wearing a hat", num_inference_steps=50).images[0]
image.save("cat.png")
