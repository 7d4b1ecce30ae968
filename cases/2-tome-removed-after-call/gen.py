import tomesd
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline

pipe = StableDiffusionXLPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
tomesd.apply_patch(pipe, ratio=0.5, max_downsample=2)

image = pipe("a harbour in the rain", num_inference_steps=20).images[0]
image.save("harbour.png")
tomesd.remove_patch(pipe)
