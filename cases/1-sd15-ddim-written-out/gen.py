import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

# The values of the model's own scheduler_config.json, written out.
scheduler = DDIMScheduler(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    clip_sample=False,
    set_alpha_to_one=False,
    steps_offset=1,
)
pipe = StableDiffusionPipeline.from_pretrained(
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    scheduler=scheduler,
    torch_dtype=torch.float16,
)
pipe.to("cuda")
image = pipe("a photo of an astronaut riding a horse", num_inference_steps=50).images[0]
image.save("astronaut.png")
