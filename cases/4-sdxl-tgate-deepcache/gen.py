import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from tgate import TgateSDXLDeepCacheLoader

STEPS = 25
params = dict(gate_step=STEPS * 2 // 5, sp_interval=1, fi_interval=1, warm_up=0)

pipe = StableDiffusionXLPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16, variant="fp16"
).to("cuda", torch.float16)
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
pipe = TgateSDXLDeepCacheLoader(pipe)
with torch.inference_mode():
    result = pipe.tgate("a train crossing a bridge", num_inference_steps=STEPS, **params)
result.images[0].save("train.png")
