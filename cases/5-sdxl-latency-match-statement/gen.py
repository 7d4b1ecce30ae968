import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from tgate import TgateSDXLDeepCacheLoader

PRESET = "fast"

match PRESET:
    case "fast":
        interval, gate = 3, 10
    case "careful":
        interval, gate = 2, 15
    case _:
        raise SystemExit(f"unknown preset {PRESET}")

pipe = StableDiffusionXLPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16, variant="fp16"
)
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
pipe = TgateSDXLDeepCacheLoader(pipe, cache_interval=interval)
pipe.to("cuda")
image = pipe.tgate("a desk with a lamp", gate_step=gate, num_inference_steps=25).images[0]
image.save("desk.png")
