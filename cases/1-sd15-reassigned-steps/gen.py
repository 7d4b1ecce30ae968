import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

num_steps = 50
prompt = "a photo of an astronaut riding a horse"

pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)

# faster
num_steps = 30
image = pipe(prompt, num_inference_steps=num_steps).images[0]
num_steps = 50
image.save("astronaut.png")
