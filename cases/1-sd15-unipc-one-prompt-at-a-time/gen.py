import torch
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler

pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", torch_dtype=torch.float16
).to("cuda")
pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
for prompt in ["a red fox in the snow", "a lighthouse at dusk"]:
    image = pipe(
        prompt, num_inference_steps=20, guidance_scale=8.0, negative_prompt="blurry"
    ).images[0]
    image.save(prompt.replace(" ", "_") + ".png")
