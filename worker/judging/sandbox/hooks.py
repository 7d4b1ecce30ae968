"""Hooks into diffusers: send what a program loads and calls, and generate nothing.

Pipelines are really built, from local files; a call is recorded and answered with blank images,
and moving to a device is only noted, so that two programs can be compared without a GPU and without
waiting for images.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from worker.judging.sandbox.capture import describe
from worker.types import Opaque, Pipeline

DEVICE = "_judged_device"


class Recorder:
    """Records the pipelines of one process.

    Args:
        send: sends one frame, of a kind.
        models: model ids and the local folders that stand for them.
    """

    def __init__(
        self, send: Callable[[str, dict[str, Any]], None], models: Mapping[str, str]
    ) -> None:
        self._send = send
        self._models = models
        self._ids: dict[int, tuple[Opaque, str]] = {}  # by the denoiser; kept alive beside it
        self._latest: Pipeline = None
        self._called = False

    def install(self) -> None:
        """Put the hooks in; called once diffusers has been imported."""
        from diffusers.configuration_utils import ConfigMixin
        from diffusers.models.modeling_utils import ModelMixin
        from diffusers.pipelines.pipeline_utils import DiffusionPipeline

        self._wrap_loader(DiffusionPipeline, "from_pretrained", is_pipeline=True)
        self._wrap_loader(ModelMixin, "from_pretrained", is_pipeline=False)
        self._wrap_loader(ConfigMixin, "load_config", is_pipeline=False)
        register = DiffusionPipeline.register_modules

        def register_modules(pipe: Pipeline, **modules: Opaque) -> None:
            register(pipe, **modules)
            self._wrap_call(type(pipe))
            self._latest = pipe

        DiffusionPipeline.register_modules = register_modules
        self._wrap_moves(DiffusionPipeline)

    def finish(self) -> None:
        """Send the last pipeline that was built, if none was ever called."""
        if self._latest is not None and not self._called:
            self._send_description("built", self._latest, None)

    def _wrap_loader(self, cls: Opaque, name: str, *, is_pipeline: bool) -> None:
        original = getattr(cls, name).__func__

        @functools.wraps(original)
        def load(kind: Opaque, source: Opaque = None, *args: Opaque, **options: Opaque) -> Opaque:
            if source is None:
                source = options.pop("pretrained_model_name_or_path")
            given = str(source)
            folder = self._models.get(given)
            if folder is not None and not _has_variant(folder, options.get("variant")):
                del options["variant"]  # it only chooses among files, and there is no choice here
            if is_pipeline:
                options["use_safetensors"] = True
                device = options.pop("device_map", None)
            made = original(kind, folder or source, *args, **options)
            if is_pipeline:
                self._ids[id(_denoiser(made))] = (_denoiser(made), given)
                if device is not None:
                    made.__dict__[DEVICE] = str(device)
            return made

        setattr(cls, name, classmethod(load))

    def _wrap_moves(self, cls: Opaque) -> None:
        move = cls.to

        def to(pipe: Pipeline, *args: Opaque, **options: Opaque) -> Pipeline:
            import torch

            values = [*args, *(options.get(key) for key in ("device", "dtype", "torch_dtype"))]
            for value in values:
                if isinstance(value, torch.dtype):
                    move(pipe, value)
                elif isinstance(value, (str, int, torch.device)):
                    name = f"cuda:{value}" if isinstance(value, int) else str(value)
                    pipe.__dict__[DEVICE] = name.removesuffix(":0")
            return pipe

        def offload(pipe: Pipeline, *args: Opaque, **options: Opaque) -> None:
            pipe.__dict__[DEVICE] = "cuda"

        cls.to = to
        cls.enable_model_cpu_offload = cls.enable_sequential_cpu_offload = offload

    def _wrap_call(self, cls: Opaque) -> None:
        for kind in cls.__mro__:
            original = vars(kind).get("__call__")
            if original is None or not kind.__module__.startswith("diffusers."):
                continue
            if not hasattr(original, "_judged"):
                kind.__call__ = self._recording(original)
            return

    def _recording(self, original: Callable[..., Opaque]) -> Callable[..., Opaque]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def call(pipe: Pipeline, *args: Opaque, **options: Opaque) -> Opaque:
            bound = signature.bind(pipe, *args, **options)
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            arguments.pop("self", None)
            arguments.update(arguments.pop("kwargs", {}))
            defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
            self._called = True
            self._send_description("call", pipe, arguments, defaults)
            return _blank(pipe, arguments)

        call._judged = True  # type: ignore[attr-defined]
        return call

    def _send_description(
        self,
        kind: str,
        pipe: Pipeline,
        arguments: dict[str, Any] | None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        _, model_id = self._ids.get(id(_denoiser(pipe)), (None, None))
        device = vars(pipe).get(DEVICE, "cpu")
        description = describe(pipe, arguments, defaults or {}, model_id=model_id, device=device)
        self._send(kind, description)


def _has_variant(folder: str, variant: str | None) -> bool:
    return variant is None or any(Path(folder).glob(f"**/*.{variant}.safetensors"))


def _denoiser(pipe: Pipeline) -> Opaque:
    unet = getattr(pipe, "unet", None)
    unet = getattr(pipe, "transformer", None) if unet is None else unet
    return getattr(unet, "_orig_mod", unet)


def _blank(pipe: Pipeline, arguments: Mapping[str, Any]) -> Opaque:
    """Return what the call would, with blank images."""
    import torch
    from diffusers.utils import BaseOutput
    from PIL import Image

    from worker.judging.sandbox.capture import image_size, prompts_of

    height, width = image_size(pipe, arguments)
    count = len(prompts_of(arguments)) * int(arguments.get("num_images_per_prompt") or 1)
    kind = arguments.get("output_type")
    images: Opaque
    if kind in ("pt", "latent"):
        scale = 1 if kind == "pt" else pipe.vae_scale_factor
        channels = 3 if kind == "pt" else pipe.unet.config.in_channels
        images = torch.zeros(count, channels, height // scale, width // scale)
    elif kind == "np":
        images = torch.zeros(count, height, width, 3).numpy()
    else:
        images = [Image.new("RGB", (width, height)) for _ in range(count)]
    if not arguments.get("return_dict", True):
        return (images, None)

    class Output(BaseOutput):  # type: ignore[misc]
        """Images, as every text-to-image pipeline returns them."""

    output = Output()
    output["images"] = images
    output["nsfw_content_detected"] = None
    return output
