"""Pipelines and noise schedulers that load nothing and record every call."""

import copy

CALLS = []


class Scheduler:
    def __init__(self, **arguments):
        self.config = {"_from": "class defaults", **arguments}

    @classmethod
    def from_config(cls, config, **arguments):
        scheduler = cls()
        scheduler.config = {**config, **arguments}
        return scheduler

    @classmethod
    def from_pretrained(cls, model, subfolder=None, **arguments):
        scheduler = cls()
        scheduler.config = {"_from": model, **arguments}
        return scheduler


class DDIMScheduler(Scheduler):
    pass


class PNDMScheduler(Scheduler):
    pass


class EulerDiscreteScheduler(Scheduler):
    pass


class TextEncoder:
    pass


class UNet:
    def __init__(self):
        self.deepcache = None
        self.tome = None


class Pipeline:
    default_scheduler = PNDMScheduler
    guidance = 7.5

    @classmethod
    def from_pretrained(cls, model, torch_dtype="float32", scheduler=None, **options):
        pipe = cls()
        pipe.model, pipe.dtype, pipe.device, pipe.unet = model, torch_dtype, "cpu", UNet()
        pipe.scheduler = scheduler or pipe.default_scheduler.from_pretrained(model)
        return pipe

    def to(self, device=None, dtype=None):
        if device in ("float16", "float32", "bfloat16"):
            device, dtype = None, device
        self.device = device or self.device
        self.dtype = dtype or self.dtype
        return self

    def set_progress_bar_config(self, **options):
        pass

    def register_modules(self, **modules):
        vars(self).update(modules)

    def record(self, arguments, tgate):
        accelerators = {}
        if self.unet.deepcache is not None:
            accelerators["deepcache"] = dict(self.unet.deepcache.params)
        if self.unet.tome is not None:
            accelerators["tome"] = dict(self.unet.tome)
        if tgate is not None:
            accelerators["tgate"] = tgate
        config = dict(self.scheduler.config)
        base = config.pop("_from")
        CALLS.append(
            copy.deepcopy(
                {
                    "pipeline": type(self).__name__,
                    "model_id": self.model,
                    "scheduler": type(self.scheduler).__name__,
                    "scheduler_args": config | ({} if base == self.model else {"config": base}),
                    "steps": arguments["num_inference_steps"],
                    "guidance": arguments["guidance_scale"],
                    "height": arguments["height"],
                    "prompt": arguments["prompt"],
                    "images_per_prompt": arguments["num_images_per_prompt"],
                    "dtype": self.dtype,
                    "device": self.device,
                    "accelerators": accelerators,
                }
            )
        )
        return Output()


class Output:
    def __init__(self):
        self.images = [Image()]


class Image:
    def save(self, path):
        pass


class StableDiffusionPipeline(Pipeline):
    def __call__(
        self,
        prompt=None,
        height=None,
        width=None,
        num_inference_steps=50,
        timesteps=None,
        sigmas=None,
        guidance_scale=7.5,
        negative_prompt=None,
        num_images_per_prompt=1,
    ):
        arguments = dict(locals(), height=height or 512)
        return self.record(arguments, None)


class StableDiffusionXLPipeline(Pipeline):
    text_encoder_2 = TextEncoder()
    default_scheduler = EulerDiscreteScheduler
    guidance = 5.0

    def __call__(
        self,
        prompt=None,
        prompt_2=None,
        height=None,
        width=None,
        num_inference_steps=50,
        timesteps=None,
        sigmas=None,
        denoising_end=None,
        guidance_scale=5.0,
        negative_prompt=None,
        negative_prompt_2=None,
        num_images_per_prompt=1,
    ):
        arguments = dict(locals(), height=height or 1024)
        return self.record(arguments, None)
