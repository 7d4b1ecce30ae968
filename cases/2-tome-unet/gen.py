import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler
from tomesd import apply_patch as merge_tokens

pipe = DiffusionPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
merge_tokens(pipe.unet, 0.5, max_downsample=2, use_rand=True)
image = pipe(prompt="a harbour in the rain", num_inference_steps=20).images[0]
image.save("harbour.png")
