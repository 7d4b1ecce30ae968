import tomesd
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from tgate import TgateSDDeepCacheLoader

pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
)
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
pipe = TgateSDDeepCacheLoader(pipe, cache_interval=5, cache_branch_id=0).to("cuda")
pipe.deepcache.disable()
tomesd.apply_patch(pipe, ratio=0.5)
image = pipe.tgate("a blue bird", gate_step=20, num_inference_steps=50).images[0]
image.save("bird.png")
