from dataclasses import dataclass, field

import torch
from diffusers import StableDiffusionPipeline
from diffusers.schedulers import UniPCMultistepScheduler


@dataclass
class GenerationConfig:
    family: str = "stable-diffusion"
    version: str = "v1-5"
    steps: int = 20
    guidance: float = 8.0
    prompts: list = field(default_factory=lambda: ["a red fox in the snow", "a lighthouse at dusk"])

    @property
    def model_id(self):
        return f"{self.family}-{self.version}/{self.family}-{self.version}"


class Generator:
    def __init__(self, config):
        self.config = config
        self.pipeline = self._load()

    def _load(self):
        pipeline = StableDiffusionPipeline.from_pretrained(
            self.config.model_id, torch_dtype=torch.float16
        )
        pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to("cuda")

    @torch.no_grad()
    def __call__(self, **overrides):
        arguments = {
            "prompt": self.config.prompts,
            "negative_prompt": ["blurry"] * len(self.config.prompts),
            "num_inference_steps": self.config.steps,
            "guidance_scale": self.config.guidance,
        }
        arguments.update(overrides)
        return self.pipeline(**arguments).images


if __name__ == "__main__":
    generator = Generator(GenerationConfig())
    for index, picture in enumerate(generator()):
        picture.save(f"fox_{index}.png")
