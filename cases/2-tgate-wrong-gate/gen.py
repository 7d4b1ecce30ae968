import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from tgate import TgateSDXLLoader

pipe = StableDiffusionXLPipeline.from_pretrained(
    "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16, variant="fp16"
)
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
gate_step = inference_step = 25
pipe = TgateSDXLLoader(pipe, gate_step=gate_step, num_inference_steps=inference_step).to("cuda")

image = pipe.tgate(
    "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k",
    gate_step=gate_step,
    num_inference_steps=inference_step,
).images[0]
image.save("astronaut.png")
