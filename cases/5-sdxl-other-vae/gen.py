import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from tgate import TgateSDXLDeepCacheLoader

vae = AutoencoderKL.from_pretrained("madebyollin/sdxl-vae-fp16-fix", torch_dtype=torch.float16)
pipe = StableDiffusionXLPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16, variant="fp16", vae=vae
)
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
pipe = TgateSDXLDeepCacheLoader(pipe, cache_interval=3, cache_branch_id=0).to("cuda")

image = pipe.tgate(
    "a desk with a lamp", gate_step=10, num_inference_steps=25
).images[0]
image.save("desk.png")
