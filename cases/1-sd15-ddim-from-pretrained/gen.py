import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

model_id = "stable-diffusion-v1-5/stable-diffusion-v1-5"
scheduler = DDIMScheduler.from_pretrained(model_id, subfolder="scheduler")
pipe = StableDiffusionPipeline.from_pretrained(
    model_id, scheduler=scheduler, torch_dtype=torch.float16
).to("cuda")

prompt = "a photo of an astronaut riding a horse"
image = pipe(prompt, num_inference_steps=50, guidance_scale=7.5).images[0]
image.save("astronaut.png")
