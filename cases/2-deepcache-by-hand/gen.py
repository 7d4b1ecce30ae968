import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)

full_forward = pipe.unet.forward
calls = 0
cached = None


def cached_forward(*args, **kwargs):
    global calls, cached
    if calls % 3 == 0:
        cached = full_forward(*args, **kwargs)
    calls += 1
    return cached


pipe.unet.forward = cached_forward

image = pipe("a cat wearing a hat", num_inference_steps=50).images[0]
image.save("cat.png")
