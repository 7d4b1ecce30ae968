"""Pipelines and noise schedulers that load nothing and record every call."""

import copy

import torch

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
    def __init__(self, source, dtype="float32"):
        self.device, self.dtype = "cpu", dtype
        self.deepcache = None
        self.tome = None
        self.endless = False
        self.freeu = None
        self.source = source


class UNet2DConditionModel:
    @classmethod
    def from_pretrained(cls, model, subfolder=None, variant=None, torch_dtype="float32", **options):
        return UNet([model, subfolder, variant, options], torch_dtype)


class Adapters:
    """LoRA, textual inversions and FreeU, as far as what they come to is certain."""

    def note(self, what):
        self.notes = [*self.notes, what]

    def load_lora_weights(self, source, adapter_name=None):
        if adapter_name in self.lora:
            raise ValueError("Adapter name is in use")
        # What a new adapter does beside those that are off, fused or weighed is not modelled.
        self.lora = {**self.lora, adapter_name: [source, self.lora_off, self.lora_weights]}

    def disable_lora(self):
        self.lora_off = bool(self.lora)

    def enable_lora(self):
        self.lora_off = False

    def fuse_lora(self, lora_scale=1.0):
        if self.lora:
            state = [self.lora, self.lora_off, self.lora_weights, lora_scale]
            self.lora_fused = [*self.lora_fused, state]

    def unfuse_lora(self):
        if self.lora:  # else there is no layer that knows what was fused
            self.lora_fused = []

    def set_adapters(self, names, adapter_weights=None):
        if not set(names) <= set(self.lora):
            raise ValueError("Adapter not found")
        self.lora_weights = [names, adapter_weights]

    def delete_adapters(self, name):
        self.lora = {key: source for key, source in self.lora.items() if key != name}
        self._forget_lora_if_none()

    def unload_lora_weights(self):
        self.lora = {}
        self._forget_lora_if_none()

    def _forget_lora_if_none(self):
        if not self.lora:
            self.lora_off, self.lora_weights = False, None

    def load_textual_inversion(self, source):
        self.note(f"inversion {source}")

    def unload_textual_inversion(self):
        self.notes = [note for note in self.notes if not note.startswith("inversion")]

    def enable_freeu(self, **values):
        self.unet.freeu = values

    def disable_freeu(self):
        self.unet.freeu = None


class Pipeline(Adapters):
    lora_off, lora_weights, lora_fused = False, None, ()
    default_scheduler = PNDMScheduler
    guidance = 7.5

    @classmethod
    def from_pretrained(cls, model, torch_dtype="float32", scheduler=None, **options):
        pipe = cls()
        pipe.model, pipe.dtype, pipe.device, pipe.unet = (
            *(model, torch_dtype, "cpu"),
            UNet([model, "unet", None, {}], torch_dtype),
        )
        pipe.notes, pipe.lora = [], {}
        pipe.scheduler = scheduler or pipe.default_scheduler.from_pretrained(model)
        return pipe

    def to(self, device=None, dtype=None):
        if device in ("float16", "float32", "bfloat16"):
            device, dtype = None, device
        self.device = self.unet.device = device or self.device
        self.dtype = self.unet.dtype = dtype or self.dtype
        return self

    def set_progress_bar_config(self, **options):
        pass

    def register_modules(self, **modules):
        vars(self).update(modules)

    def record(self, arguments, tgate):
        if self.unet.endless:
            raise RecursionError
        if (self.unet.device, self.unet.dtype) != (self.device, self.dtype):
            raise RuntimeError("the denoiser is elsewhere, or of another type")
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
                    # What no single field is about.
                    "beside": [
                        list(self.notes),
                        [self.lora, self.lora_off, self.lora_weights, list(self.lora_fused)],
                        self.unet.source,
                        self.unet.freeu,
                        # Of another kind of device it does nothing.
                        [entry for entry in torch.AUTOCAST if self.device.startswith(entry[0])],
                        arguments.get("negative_prompt"),
                    ],
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
