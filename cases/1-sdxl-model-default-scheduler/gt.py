import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

pipe = StableDiffusionXLPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0",
    torch_dtype=torch.float16,
    variant="fp16",
    use_safetensors=True,
)
pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
pipe.to("cuda")
image = pipe(
    prompt="a watercolor painting of a fox", num_inference_steps=30, height=1024, width=1024
).images[0]
image.save("fox.png")
