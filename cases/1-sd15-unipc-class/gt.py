import torch
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler

pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
prompts = ["a red fox in the snow", "a lighthouse at dusk"]
images = pipe(
    prompts, num_inference_steps=20, guidance_scale=8.0, negative_prompt=["blurry", "blurry"]
).images
for number, image in enumerate(images):
    image.save(f"{number}.png")
