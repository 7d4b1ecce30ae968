"""Where a pipeline or one of its parts is moved, and in which number format."""

from __future__ import annotations

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments, without_defaults
from worker.judging.static.interpreter.interpreter import Raised
from worker.judging.static.objects import AbstractDict, Component, Field, Pipeline
from worker.judging.static.values import MISSING, Lib, Unknown, Value

_DTYPES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "fp16": "float16",
    "fp32": "float32",
    "bf16": "bfloat16",
}
MOVES = frozenset(["to", "cuda", "cpu", "half", "float"])
PART_MOVES = MOVES | {"bfloat16"}
# torch.compile's defaults; `fullgraph` only says what is an error.
_COMPILATION: dict[str, object] = {
    "mode": None,
    "dynamic": None,
    "backend": "inductor",
    "options": None,
    "disable": False,
}


def dtype_name(value: Value) -> Value:
    """Return a dtype as its name, ``float16``."""
    if value is None:
        return "float32"
    if isinstance(value, Lib) and value.root != "torch":
        return Unknown(Why.SET_ELSEWHERE(name=value.path))
    if isinstance(value, (Lib, str)):
        name = (value.path if isinstance(value, Lib) else value).removeprefix("torch.")
        return _DTYPES.get(name, name)
    return value if isinstance(value, Unknown) else Unknown(Why.DTYPE())


def loaded_dtype(given: Arguments) -> Value:
    """Return in which number format diffusers loads a model; what is no dtype of torch is ignored.

    Raises:
        Raised: both names of the argument are used.
    """
    dtypes = [given.keywords[key] for key in ("torch_dtype", "dtype") if key in given.keywords]
    dtypes = [value for value in dtypes if value is not None]
    if len(dtypes) > 1:
        raise Raised("ValueError", Why.REFUSES(cls="from_pretrained", name="dtype"))
    if not dtypes:
        return dtype_name(given.open)
    return "float32" if isinstance(dtypes[0], str) else dtype_name(dtypes[0])


def device_name(value: Value) -> Value:
    """Return a device as text; the first GPU is simply ``cuda``."""
    if isinstance(value, int):
        value = f"cuda:{value}"
    if isinstance(value, str):
        return value.removesuffix(":0")
    return value if isinstance(value, Unknown) else Unknown(Why.DEVICE())


def moved_pipeline(method: str, given: Arguments) -> dict[Field[Value], Value]:
    """Return the fields of a pipeline that one of its methods of MOVES sets."""
    fields: dict[Field[Value], Value] = {}
    if method in ("cuda", "cpu"):
        fields[Pipeline.device] = method
    elif method != "to":
        fields[Pipeline.dtype] = _DTYPES[method]
    if isinstance(given.get("dtype", 1), str):  # torch takes no text for one
        raise Raised("TypeError", Why.REFUSES(cls="to", name="dtype"))
    for place, value in enumerate(given.positional):
        if place == 1 or (isinstance(value, Lib) and value.root == "torch"):
            fields[Pipeline.dtype] = dtype_name(value)
        else:
            fields[Pipeline.device] = device_name(value)
    for key in ("dtype", "torch_dtype"):
        if key in given.keywords:
            fields[Pipeline.dtype] = dtype_name(given.keywords[key])
    if "device" in given.keywords:
        fields[Pipeline.device] = device_name(given.keywords["device"])
    if given.open:
        fields |= {Pipeline.device: given.open, Pipeline.dtype: given.open}
    return fields


def compilation(given: Arguments) -> Value:
    """Return with what arguments something is compiled: the mode alone where no other counts."""
    names = ("mode", "dynamic", "backend", "options", "disable")
    arguments = {name: given.keywords[name] for name in names if name in given.keywords}
    chosen = without_defaults(arguments, _COMPILATION)
    if chosen.get("disable") is True:
        return MISSING
    mode = chosen.get("mode", "default")
    return AbstractDict(chosen) if chosen.keys() - {"mode"} else mode


def moved_component(method: str, given: Arguments) -> dict[Field[Value], Value]:
    """Return the fields of a pipeline's part that one of its methods of PART_MOVES sets."""
    if method in ("cuda", "cpu"):
        return {Component.device: method}
    fields: dict[Field[Value], Value] = {}
    layout = given.get("memory_format")
    if layout == Lib("torch.contiguous_format"):
        fields[Component.layout] = MISSING
    elif layout not in (None, Lib("torch.preserve_format")):
        fields[Component.layout] = layout.last if isinstance(layout, Lib) else layout
    if method != "to":
        fields[Component.dtype] = _DTYPES.get(method, method)
        return fields
    device = given.get("device", None, next(iter(given.positional), None))
    if isinstance(device, (str, int)):
        fields[Component.device] = device_name(device)
    named = [value for value in given.positional if isinstance(value, Lib)]
    dtype = given.get("dtype", None, named[0] if named else None)
    if dtype is not None:
        fields[Component.dtype] = dtype_name(dtype)
    return fields
