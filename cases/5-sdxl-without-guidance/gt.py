import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from tgate import TgateSDXLDeepCacheLoader

pipe = StableDiffusionXLPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16, variant="fp16"
)
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
pipe = TgateSDXLDeepCacheLoader(pipe, cache_interval=3, cache_branch_id=0).to("cuda")

image = pipe.tgate(
    "a desk with a lamp", gate_step=10, num_inference_steps=25
).images[0]
image.save("desk.png")
