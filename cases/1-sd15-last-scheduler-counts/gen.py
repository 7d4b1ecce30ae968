import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)

# A short run first, so that the timed one is warm.
pipe("warm-up", num_inference_steps=2)
image = pipe("a photo of an astronaut riding a horse", num_inference_steps=50).images[0]
image.save("astronaut.png")
