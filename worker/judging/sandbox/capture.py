"""Describe a pipeline as it is: plain data that can be compared without the objects.

Accelerators are found by what they changed: a ``forward`` in a module's own dictionary, a module
of a patched class. What a program says it did does not count.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from worker.judging.facts.call_arguments import CALL_DEFAULTS, NEUTRAL_CALL
from worker.judging.facts.packages import ACCELERATOR_PACKAGES
from worker.types import Module, Opaque, Pipeline, Tensor

# Of a larger tensor, this many elements, evenly spaced, stand for it.
SAMPLE = 256
_PLAIN = (bool, int, float, str, type(None))


def describe(
    pipe: Pipeline,
    arguments: Mapping[str, Any] | None,
    defaults: Mapping[str, Any],
    *,
    model_id: str | None,
    device: str,
) -> dict[str, Any]:
    """Return a pipeline, and the call that is being made, as plain data.

    Returns:
        ``fields`` (as the static reading names them), ``objects`` (path to a plain value),
        ``tensors`` (path to shape, dtype and a sample) and ``unknown`` (what changed the denoiser
        and is not an accelerator known here).
    """
    objects: dict[str, Any] = {"class": type(pipe).__qualname__}
    tensors: dict[str, Any] = {}
    for name, part in sorted(pipe.components.items()):
        objects[f"{name}.class"] = _class_name(part)
        for path, value in _configuration(part):
            objects[f"{name}.config.{path}"] = value
        if hasattr(part, "named_modules"):
            _describe_module(name, part, objects, tensors)
        elif name == "scheduler":
            _describe_state(name, part, objects, tensors)
    accelerators, unknown = find_accelerators(pipe)
    for name, parameters in accelerators.items():
        for key, value in parameters.items():
            objects[f"accelerators.{name}.{key}"] = value
    fields = {
        "pipeline": type(pipe).__name__,
        "model_id": model_id,
        "scheduler": type(pipe.scheduler).__name__,
        "scheduler_args": dict(_configuration(pipe.scheduler)),
        "accelerators": accelerators,
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "device": device,
        "components": {},
        "settings": _settings(pipe),
        **(_call_fields(pipe, arguments, defaults) if arguments is not None else {}),
    }
    if arguments is not None:
        for key in ("steps", "guidance", "height", "width", "batch", "images_per_prompt"):
            objects[f"call.{key}"] = fields[key]
    return {"fields": fields, "objects": objects, "tensors": tensors, "unknown": unknown}


def _class_name(part: Opaque) -> str:
    return "None" if part is None else type(getattr(part, "_orig_mod", part)).__name__


def _configuration(part: Opaque) -> Iterator[tuple[str, Any]]:
    """Yield a part's public configuration, as paths and plain values."""
    config: Opaque = getattr(part, "config", None)
    if hasattr(config, "to_dict"):
        config = config.to_dict()
    if isinstance(config, Mapping):
        yield from _flat("", config)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:  # any setting
    if isinstance(value, Mapping):
        for key in sorted(map(str, value)):
            # diffusers' own notes: where from, which version, which keys were defaults
            if not key.startswith("_") and key != "transformers_version":
                yield from _flat(f"{prefix}.{key}" if prefix else key, value.get(key))
    elif isinstance(value, (list, tuple)) and len(value) < 100:
        yield prefix, [item if isinstance(item, _PLAIN) else str(item) for item in value]
    else:
        yield prefix, value if isinstance(value, _PLAIN) else str(type(value).__name__)


def _describe_module(
    name: str, part: Module, objects: dict[str, Any], tensors: dict[str, Any]
) -> None:
    for path, module in part.named_modules():
        place = f"{name}.{path}" if path else name
        objects[f"{place}:class"] = type(module).__name__
        forward = replaced_forward(module)
        if forward is not None:
            objects[f"{place}:forward"] = _function_name(forward)
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        if hooks:
            objects[f"{place}:hooks"] = hooks
    for path, tensor in part.state_dict().items():
        tensors[f"{name}.{path}"] = _sample(tensor)


def _describe_state(
    name: str, scheduler: Opaque, objects: dict[str, Any], tensors: dict[str, Any]
) -> None:
    """Describe a noise scheduler's state: what it holds beside its configuration."""
    import numpy as np
    import torch

    for key, value in sorted(vars(scheduler).items()):
        if isinstance(value, torch.Tensor):
            tensors[f"{name}.{key}"] = _sample(value)
        elif isinstance(value, np.ndarray):
            tensors[f"{name}.{key}"] = _sample(torch.from_numpy(value.copy()))
        elif isinstance(value, _PLAIN) and not key.startswith("_internal"):
            objects[f"{name}.{key}"] = value


def _sample(tensor: Tensor) -> dict[str, Any]:
    import torch

    flat = tensor.detach().reshape(-1)
    if flat.numel() > SAMPLE:
        places = torch.linspace(0, flat.numel() - 1, SAMPLE, dtype=torch.float64).round().long()
        flat = flat[places.to(flat.device)]
    values = flat.to("cpu", torch.float32).numpy().tobytes()
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "values": base64.b64encode(values).decode(),
    }


def replaced_forward(module: Module) -> Opaque:
    """Return what stands in for a module's own ``forward``, None if nothing does.

    DeepCache, taken off again, leaves the module's own method in its dictionary: no change.
    """
    forward: Opaque = vars(module).get("forward")
    own = getattr(forward, "__self__", None) is module
    return None if own and forward.__func__ is type(module).forward else forward


def _function_name(function: Opaque) -> str:
    target = getattr(function, "__func__", function)
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', type(target))}"


def find_accelerators(pipe: Pipeline) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the accelerators that have changed a pipeline's UNet, and other changes to it."""
    unet = getattr(pipe, "unet", None)
    unet = getattr(unet, "_orig_mod", unet)
    if unet is None:
        return {}, []
    replaced = ((path, replaced_forward(module)) for path, module in unet.named_modules())
    forwards = {path: forward for path, forward in replaced if forward is not None}
    captured = {
        name: package.capture(pipe, forwards) for name, package in ACCELERATOR_PACKAGES.items()
    }
    found = {
        name: item.parameters for name, item in captured.items() if item.parameters is not None
    }
    explained = frozenset[str]().union(*(item.explained for item in captured.values()))
    unknown = [
        f"{f'unet.{path}'.removesuffix('.')}: forward is {_function_name(forward)}"
        for path, forward in forwards.items()
        if path not in explained
    ]
    return found, [*unknown, *(text for item in captured.values() for text in item.unknown)]


def _settings(pipe: Pipeline) -> dict[str, Any]:
    return {
        f"{name} compile": True
        for name, part in pipe.components.items()
        if hasattr(part, "_orig_mod")
    }


def _call_fields(
    pipe: Pipeline, arguments: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    height, width = image_size(pipe, arguments)
    schedule = arguments.get("timesteps") or arguments.get("sigmas")
    named = {
        "num_inference_steps",
        "guidance_scale",
        "height",
        "width",
        "num_images_per_prompt",
        "prompt",
        "negative_prompt",
    }
    options = {
        key: value if isinstance(value, _PLAIN) else type(value).__name__
        for key, value in arguments.items()
        if key not in named | NEUTRAL_CALL
        and value is not None
        and not _is_default(value, defaults.get(key, CALL_DEFAULTS.get(key)))
    }
    return {
        "steps": len(schedule) if schedule else arguments.get("num_inference_steps"),
        "guidance": arguments.get("guidance_scale"),
        "height": height,
        "width": width,
        "batch": len(prompts_of(arguments)),
        "images_per_prompt": arguments.get("num_images_per_prompt") or 1,
        "prompt": _text(arguments.get("prompt")),
        "negative_prompt": _text(arguments.get("negative_prompt")),
        "call_options": options,
    }


def _is_default(value: Any, default: Any) -> bool:  # any argument
    return isinstance(value, (*_PLAIN, list, tuple)) and value == default


def _text(value: Any) -> Any:  # a prompt is a text, a list of texts, or None
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value[:1000]]
    return value if isinstance(value, str) else None


def image_size(pipe: Pipeline, arguments: Mapping[str, Any]) -> tuple[int, int]:
    """Return the height and width in pixels of a call's images."""
    size = getattr(pipe, "default_sample_size", None)
    if size is None:
        size = getattr(getattr(pipe, "unet", None), "config", {}).get("sample_size", 64)
    sizes = size if isinstance(size, (list, tuple)) else (size, size)
    factor = getattr(pipe, "vae_scale_factor", 8)
    height = arguments.get("height") or sizes[0] * factor
    width = arguments.get("width") or sizes[1] * factor
    return int(height), int(width)


def prompts_of(arguments: Mapping[str, Any]) -> list[Any]:
    """Return a call's prompts, or its embeddings, as a list with one item for each."""
    prompt = arguments.get("prompt")
    if prompt is None:
        prompt = arguments.get("prompt_embeds")
        return [None] if prompt is None else list(prompt)
    return list(prompt) if isinstance(prompt, (list, tuple)) else [prompt]
