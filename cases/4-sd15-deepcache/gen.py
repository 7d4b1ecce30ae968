"""Stable Diffusion 1.5 at least 1.8 times as fast, at most 5 % worse."""

import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, StableDiffusionPipeline


def build(interval: int = 3, branch: int = 0):
    model = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    pipe = StableDiffusionPipeline.from_pretrained(
        model,
        scheduler=DDIMScheduler.from_pretrained(model, subfolder="scheduler"),
        torch_dtype=torch.float16,
    ).to("cuda")
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=interval, cache_branch_id=branch)
    helper.enable()
    return pipe


if __name__ == "__main__":
    build()("two dogs on a beach", num_inference_steps=50).images[0].save("dogs.png")
