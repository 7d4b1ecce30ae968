import argparse

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--prompt", default="a watercolor painting of a fox")
args = parser.parse_args()

pipe = StableDiffusionXLPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
image = pipe(
    args.prompt, num_inference_steps=args.steps, height=1024, width=1024
).images[0]
image.save("fox.png")
