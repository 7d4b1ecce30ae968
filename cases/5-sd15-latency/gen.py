import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, StableDiffusionPipeline

def generate(pipeline, *, count=4, **kwargs):
    kwargs.setdefault("num_inference_steps", 50)
    output = pipeline("a bicycle against a wall", num_images_per_prompt=count, **kwargs)
    return output.images[0]


pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)

helper = DeepCacheSDHelper(pipe=pipe)
helper.set_params(cache_interval=5, cache_branch_id=0)
helper.enable()

image = generate(pipe)
image.save("bicycle.png")
