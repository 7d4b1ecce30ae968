import torch
from diffusers import AutoPipelineForText2Image

pipeline = AutoPipelineForText2Image.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16, variant="fp16"
).to("cuda")
image = pipeline("a watercolor painting of a fox", num_inference_steps=30).images[0]
image.save("fox.png")
