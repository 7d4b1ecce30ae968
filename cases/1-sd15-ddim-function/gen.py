"""Generate one image with Stable Diffusion 1.5 and the DDIM sampler."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

MODEL_ID = "stable-diffusion-v1-5/stable-diffusion-v1-5"


def load_pipeline(model_id: str = MODEL_ID, device: str = "cuda"):
    pipeline = StableDiffusionPipeline.from_pretrained(
        model_id, torch_dtype=torch.float16, safety_checker=None
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    return pipeline.to(device)


def generate(pipeline, prompt, steps=50):
    with torch.inference_mode():
        return pipeline(prompt=prompt, num_inference_steps=steps).images[0]


def main():
    pipeline = load_pipeline()
    image = generate(pipeline, "a photo of an astronaut riding a horse")
    image.save("output.png")


if __name__ == "__main__":
    main()
