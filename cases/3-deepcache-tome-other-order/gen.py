import torch
import tomesd as tome
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, StableDiffusionPipeline


class Accelerated:
    """Stable Diffusion with token merging and feature caching."""

    def __init__(self, model_id="stable-diffusion-v1-5/stable-diffusion-v1-5"):
        self.pipe = StableDiffusionPipeline.from_pretrained(model_id, torch_dtype=torch.float16)
        self.pipe.scheduler = DDIMScheduler.from_config(self.pipe.scheduler.config)
        self.pipe.to("cuda")
        self.helper = None

    def merge_tokens(self, ratio):
        tome.apply_patch(self.pipe, ratio=ratio)
        return self

    def cache_features(self, interval, branch=0):
        self.helper = DeepCacheSDHelper(pipe=self.pipe)
        self.helper.set_params(cache_interval=interval, cache_branch_id=branch)
        self.helper.enable()
        return self

    def __call__(self, prompt, steps=50):
        return self.pipe(prompt, num_inference_steps=steps).images[0]


accelerated = Accelerated().merge_tokens(0.4).cache_features(3)
accelerated("a small village by a lake").save("village.png")
