import torch
from DeepCache import DeepCacheSDHelper as Helper
from diffusers import DDIMScheduler, StableDiffusionPipeline

CONFIG = {
    "model": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "steps": 50,
    "deepcache": {"cache_interval": 3, "cache_branch_id": 0},
}


def accelerate(pipe, params):
    helper = Helper(pipe)
    helper.set_params(**params)
    helper.enable()
    return helper


pipe = StableDiffusionPipeline.from_pretrained(CONFIG["model"], torch_dtype=torch.float16)
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
pipe.to("cuda")
accelerate(pipe, CONFIG["deepcache"])
image = pipe("a cat wearing a hat", num_inference_steps=CONFIG["steps"]).images[0]
image.save("cat.png")
