import tomesd
import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)

helper = DeepCacheSDHelper(pipe=pipe)
helper.set_params(cache_interval=3, cache_branch_id=0)
helper.enable()
tomesd.apply_patch(pipe, ratio=0.4)

image = pipe("a small village by a lake", num_inference_steps=50).images[0]
image.save("village.png")

# And without acceleration, for comparison.
helper.disable()
tomesd.remove_patch(pipe)
baseline = pipe("a small village by a lake", num_inference_steps=50).images[0]
baseline.save("baseline.png")
