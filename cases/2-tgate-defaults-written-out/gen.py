import torch
import tgate
from diffusers import DDIMScheduler, StableDiffusionXLPipeline

PROMPT = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k"
MODEL = "stabilityai/stable-diffusion-xl-base-1.0"


def run(gate, steps, **rest):
    base = StableDiffusionXLPipeline.from_pretrained(
        MODEL,
        scheduler=DDIMScheduler.from_pretrained(MODEL, subfolder="scheduler"),
        torch_dtype=torch.float16,
        variant="fp16",
    ).to("cuda")
    fast = tgate.TgateSDXLLoader(base)
    return fast.tgate(PROMPT, num_inference_steps=steps, gate_step=gate, **rest).images


run(15, 25, sp_interval=5, fi_interval=1, warm_up=2)[0].save("astronaut.png")
