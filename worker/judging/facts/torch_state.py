"""Contexts and switches that change how everything is computed while they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ContextSignature:
    """A context manager: the setting that it makes, its parameters in order, their defaults."""

    setting: str
    order: tuple[str, ...]
    defaults: Mapping[str, object] = field(default_factory=dict)


_AUTOCAST = ContextSignature(
    "autocast",
    ("device_type", "dtype", "enabled", "cache_enabled"),
    {"dtype": None, "enabled": True, "cache_enabled": None},
)
_OF_CUDA = ContextSignature(
    "autocast",
    ("enabled", "dtype", "cache_enabled"),
    {"device_type": "cuda", "dtype": None, "enabled": True, "cache_enabled": True},
)
_OF_CPU = ContextSignature("autocast", _OF_CUDA.order, {**_OF_CUDA.defaults, "device_type": "cpu"})
_BACKEND = ContextSignature("attention_backend", ("backend",))
CONTEXTS: Mapping[str, ContextSignature] = {
    "torch.autocast": _AUTOCAST,
    "torch.amp.autocast": _AUTOCAST,
    "torch.amp.autocast_mode.autocast": _AUTOCAST,
    "torch.cuda.amp.autocast": _OF_CUDA,
    "torch.cuda.amp.autocast_mode.autocast": _OF_CUDA,
    "torch.cpu.amp.autocast": _OF_CPU,
    "torch.nn.attention.sdpa_kernel": ContextSignature(
        "sdpa_kernel", ("backends", "set_priority"), {"set_priority": False}
    ),
    "torch.backends.cuda.sdp_kernel": ContextSignature(
        "sdp_kernel", ("enable_flash", "enable_math", "enable_mem_efficient", "enable_cudnn")
    ),
    "torch.backends.cudnn.flags": ContextSignature(
        "cudnn", ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32")
    ),
    "diffusers.attention_backend": _BACKEND,
    "diffusers.models.attention_backend": _BACKEND,
    "diffusers.models.attention_dispatch.attention_backend": _BACKEND,
}
# What autocast computes in where no dtype is given.
AUTOCAST_DTYPES = {"cuda": "float16", "cpu": "bfloat16"}

_TF32 = "torch.backends.cuda.matmul.allow_tf32"
# Switches with what they are where nobody sets them; any other of torch's is kept whatever it is.
SWITCHES: Mapping[str, object] = {
    _TF32: False,
    "torch.backends.cudnn.allow_tf32": True,
    "torch.backends.cudnn.benchmark": False,
    "torch.backends.cudnn.deterministic": False,
    "torch.backends.cudnn.enabled": True,
    "torch.backends.cuda.enable_cudnn_sdp": True,
    "torch.backends.cuda.enable_flash_sdp": True,
    "torch.backends.cuda.enable_math_sdp": True,
    "torch.backends.cuda.enable_mem_efficient_sdp": True,
    "torch.set_default_dtype": "float32",
    "torch.use_deterministic_algorithms": False,
}
# Functions that set a switch to their first argument, and what that means.
SETTERS: Mapping[str, tuple[str, Mapping[object, object]]] = {
    "torch.set_float32_matmul_precision": (_TF32, {"highest": False, "high": True}),
    **{
        path: (path, {})
        for path in SWITCHES
        if path.rpartition(".")[2].startswith(("enable_", "set_", "use_"))
    },
    "torch.set_default_device": ("torch.set_default_device", {}),
    "torch.set_num_threads": ("torch.set_num_threads", {}),
}
# How the names of environment variables begin that choose how everything is computed.
COUNTING = ("DIFFUSERS_ATTN_", "NVIDIA_TF32_OVERRIDE", "TORCHDYNAMO_", "TORCHINDUCTOR_")
# Without effect on what is computed in half precision.
ONLY_FOR_FLOAT32 = frozenset({_TF32, "torch.backends.cudnn.allow_tf32"})
HALVES = frozenset({"float16", "bfloat16"})
