import torch
import tomesd
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, StableDiffusionPipeline

ACCELERATORS = [
    ("deepcache", {"cache_interval": 3, "cache_branch_id": 0}),
    ("tome", {"ratio": 0.4}),
]

pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)

for name, params in ACCELERATORS:
    if name == "deepcache":
        helper = DeepCacheSDHelper(pipe=pipe)
        helper.set_params(**params)
        helper.enable()
    elif name == "tome":
        tomesd.apply_patch(pipe, **params)
    else:
        raise ValueError(f"unknown accelerator: {name}")

pipe("a small village by a lake", num_inference_steps=50).images[0].save("village.png")
