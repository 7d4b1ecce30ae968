import torch
from acceleration import apply_deepcache
from diffusers import DDIMScheduler, StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
).to("cuda")
apply_deepcache(pipe, interval=3)
pipe.scheduler = DDIMScheduler.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", subfolder="scheduler"
)
image = pipe("a cat wearing a hat", num_inference_steps=50).images[0]
image.save("cat.png")
