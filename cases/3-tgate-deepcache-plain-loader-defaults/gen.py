import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from tgate import TgateSDXLLoader

pipe = StableDiffusionXLPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16, variant="fp16"
).to("cuda")
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
helper = DeepCacheSDHelper(pipe=pipe)
helper.set_params(cache_interval=3)
helper.enable()
pipe = TgateSDXLLoader(pipe)
image = pipe.tgate(
    "a glass of water on a wooden table",
    gate_step=10,
    num_inference_steps=25,
).images[0]
image.save("glass.png")
