import torch
from diffusers import DPMSolverMultistepScheduler as DPM
from diffusers import StableDiffusionXLPipeline

model = "stabilityai/stable-diffusion-xl-base-1.0"
pipe = StableDiffusionXLPipeline.from_pretrained(model, torch_dtype=torch.float16, variant="fp16")
config = dict(pipe.scheduler.config)
config["use_karras_sigmas"] = True
pipe.scheduler = DPM.from_config(config)
pipe = pipe.to(device="cuda")
image = pipe("a castle above the clouds", num_inference_steps=25).images[0]
image.save("castle.png")
