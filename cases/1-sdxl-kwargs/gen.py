import torch
import diffusers

SETTINGS = {
    "load": {"torch_dtype": torch.float16, "variant": "fp16", "use_safetensors": True},
    "call": {"num_inference_steps": 30, "height": 1024, "width": 1024},
}
SIZE, RELEASE = "xl", "1.0"


def build(name, scheduler="EulerDiscreteScheduler", **options):
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(name, **options)
    scheduler_class = getattr(diffusers, scheduler)
    pipe.scheduler = scheduler_class.from_config(pipe.scheduler.config)
    return pipe.to(torch.device("cuda", 0))


pipe = build(f"stabilityai/stable-diffusion-{SIZE}-base-{RELEASE}", **SETTINGS["load"])
call = dict(SETTINGS["call"], prompt="a watercolor painting of a fox")
pipe(**call).images[0].save("fox.png")
