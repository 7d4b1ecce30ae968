import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from tgate import TgateSDXLDeepCacheLoader

pipe = StableDiffusionXLPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16, variant="fp16"
)
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
pipe = TgateSDXLDeepCacheLoader(pipe).to("cuda")

image = pipe.tgate(
    "a glass of water on a wooden table", gate_step=10, num_inference_steps=25
).images[0]
image.save("glass.png")
