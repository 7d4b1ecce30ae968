"""Pipelines: how they are loaded, what their methods change, and what a call does."""

from __future__ import annotations

from worker.judging.library_facts import (
    CALL_DEFAULTS,
    CALLS,
    COMPONENTS,
    NEUTRAL_CALL,
    NEUTRAL_METHODS,
    NEUTRAL_PART_METHODS,
    UNDOES,
    UNSEEN,
    CallSignature,
    canonical_id,
    model_of,
)
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.joining import clone, key_of, same, shallow
from worker.judging.static.libraries import accelerators, schedulers
from worker.judging.static.operations import constants
from worker.judging.static.operations.attributes import change, write
from worker.judging.static.values import (
    MISSING,
    AbstractDict,
    AbstractList,
    Call,
    Component,
    Field,
    Lib,
    Part,
    Pipeline,
    Slots,
    Unknown,
    Value,
    is_symbol,
)

# Keywords of from_pretrained that choose files or save memory, but not what the pipeline is.
_LOADING = frozenset(
    [
        "pretrained_model_name_or_path",
        "pretrained_model_link_or_path",
        "torch_dtype",
        "dtype",
        "scheduler",
        "device_map",
        "use_safetensors",
        "variant",
        "safety_checker",
        "requires_safety_checker",
        "feature_extractor",
        "local_files_only",
        "cache_dir",
        "force_download",
        "proxies",
        "output_loading_info",
        "token",
        "use_auth_token",
        "mirror",
        "low_cpu_mem_usage",
        "add_watermarker",
        "offload_folder",
        "offload_state_dict",
        "max_memory",
        "resume_download",
        "original_config",
        "config",
        "original_config_file",
        "load_safety_checker",
        "image_encoder",
        "add_watermark",
        "disable_mmap",
    ]
)
_DTYPES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "fp16": "float16",
    "fp32": "float32",
    "bf16": "bfloat16",
}


# What a part may have of its own, and the pipeline's field that it then differs from.
_PART_SETTINGS: dict[Field[Value], Field[Value] | None] = {
    Component.compile: None,
    Component.layout: None,
    Component.fused: None,
    Component.dtype: Pipeline.dtype,
    Component.device: Pipeline.device,
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


def device_name(value: Value) -> Value:
    """Return a device as text; the first GPU is simply ``cuda``."""
    if isinstance(value, int):
        value = f"cuda:{value}"
    if isinstance(value, str):
        return value.removesuffix(":0")
    return value if isinstance(value, Unknown) else Unknown(Why.DEVICE())


def _class_of(name: str, model_id: Value) -> Value:
    """Return the class that ``name.from_pretrained(model_id)`` makes."""
    if name != "DiffusionPipeline" and not name.startswith("AutoPipeline"):
        return name
    model = model_of(model_id)
    if model and name in ("DiffusionPipeline", "AutoPipelineForText2Image"):
        return model.pipeline
    task = name.removeprefix("AutoPipelineFor").replace("DiffusionPipeline", "Text2Image")
    if model and task in ("Image2Image", "Inpainting"):
        short = {"Image2Image": "Img2Img", "Inpainting": "Inpaint"}[task]
        return model.pipeline.replace("Pipeline", f"{short}Pipeline")
    key = (task, canonical_id(model_id)) if isinstance(model_id, str) else None
    return Unknown(Why.PIPELINE_CLASS(), key)


def build(interpreter: Interpreter, name: str, method: str, given: Arguments) -> Value:
    """Return what ``Name(…)``, or a class method that loads or converts, makes."""
    if method in ("from_pretrained", "from_single_file"):
        place = given.keywords.get("pretrained_model_link_or_path", Unknown(Why.NO_MODEL_NAMED()))
        model_id = given.get("pretrained_model_name_or_path", 0, place)
        if isinstance(model_id, Lib):
            model_id = Unknown(Why.SET_ELSEWHERE(name=model_id.path))
        pipe = _new(_class_of(name, model_id), model_id, given)
    elif method in ("", "from_pipe"):
        source = (
            (given.spread or {}).get(AbstractDict.parts_of)
            if method == ""
            else given.get("pipeline", 0)
        )
        if not isinstance(source, Pipeline):
            source = None
        pipe = _from_parts(name, source, given)
    else:
        return Unknown(Why.RESULT(function=f"{name}.{method}"))
    interpreter.built.append(pipe)
    for part, value in given.keywords.items():
        if part in COMPONENTS - UNSEEN:
            write(interpreter, pipe, part, value)
    options = {
        key: value
        for key, value in given.keywords.items()
        if key not in _LOADING and key not in COMPONENTS
    }
    pipe.slots[Pipeline.settings] = AbstractDict(
        options | ({AbstractDict.open: given.open} if given.open else {})
    )
    return pipe


def _new(cls: Value, model_id: Value, given: Arguments) -> Pipeline:
    dtype = given.get("torch_dtype", default=given.get("dtype"))
    device_map = given.get("device_map")
    scheduler = given.get("scheduler")
    return Pipeline(
        {
            Pipeline.cls: cls,
            Pipeline.model_id: model_id,
            Pipeline.dtype: dtype_name(dtype),
            Pipeline.device: "cpu" if device_map is None else device_name(device_map),
            Pipeline.scheduler: schedulers.default_of(model_id) if scheduler is None else scheduler,
            "unet": Component({Component.of: model_id}),
            Pipeline.replaced: AbstractDict(),
            Pipeline.settings: AbstractDict(),
            Pipeline.tgate: None,
            Pipeline.tgated: False,
        }
    )


def _from_parts(name: str, source: Pipeline | None, given: Arguments) -> Pipeline:
    """Build a pipeline from another one, whose parts it shares, or from parts loaded singly."""
    if source is None:
        unet = given.get("unet")
        model_id = unet.of if isinstance(unet, Component) else None
        return _new(name, model_id or Unknown(Why.SEPARATE_PARTS_MODEL()), given)
    pipe = _new(_class_of(name, source.model_id), source.model_id, given)
    for slot in (*COMPONENTS, Pipeline.dtype, Pipeline.device):
        if slot in source.slots:
            pipe.slots[slot] = source.slots[slot]
    if "scheduler" not in given.keywords:
        pipe.slots[Pipeline.scheduler] = source.scheduler
    pipe.slots[Pipeline.replaced] = shallow(source.replaced)
    return pipe


def call_method(interpreter: Interpreter, pipe: Pipeline, method: str, given: Arguments) -> Value:
    """Call a method of a pipeline; a method not known here is kept as a setting."""
    store = interpreter.store
    settings = pipe.settings
    if method in ("__call__", "tgate"):
        return call_pipeline(interpreter, pipe, given, through_tgate=method == "tgate")
    if method in ("to", "cuda", "cpu", "half", "float"):
        _move(interpreter, pipe, method, given)
        return pipe
    if method == "register_modules":
        for name, value in given.keywords.items():
            write(interpreter, pipe, name, value)
        if given.open is not None:
            interpreter.taint([pipe], given.open.why)
        return None
    if method.startswith("_"):
        change(interpreter, pipe, method, *given.positional, *given.keywords.values())
    if method in NEUTRAL_METHODS or not isinstance(settings, AbstractDict):
        return Unknown(Why.RESULT(function=method))
    if method in ("enable_model_cpu_offload", "enable_sequential_cpu_offload"):
        store.assign(pipe, Pipeline.device, "cuda")
    undone = UNDOES.get(method)
    if method.startswith("disable_"):
        undone = "enable_" + method.removeprefix("disable_")
    if undone is not None:
        store.drop(settings.slots, undone)
    else:
        _record_setting(interpreter, settings, method, given)
    return Unknown(Why.RESULT(function=method))


def _record_setting(
    interpreter: Interpreter, settings: AbstractDict, method: str, given: Arguments
) -> None:
    arguments: Slots = dict(given.keywords)
    arguments.update({str(place): value for place, value in enumerate(given.positional)})
    if given.open is not None:
        arguments[AbstractDict.open] = given.open
    entry: Value = AbstractDict(arguments) if arguments else True
    if method in settings.slots and key_of(settings.slots[method]) != key_of(entry):
        entry = Unknown(Why.REPEATED_CALL(method=method))
    interpreter.store.put(settings.slots, method, entry)


def _move(interpreter: Interpreter, pipe: Pipeline, method: str, given: Arguments) -> None:
    store = interpreter.store
    for part in pipe.slots.values():
        if isinstance(part, Component):
            store.drop(part.slots, Component.dtype)
            store.drop(part.slots, Component.device)
    if method in ("cuda", "cpu"):
        store.assign(pipe, Pipeline.device, method)
    elif method in ("half", "float"):
        store.assign(pipe, Pipeline.dtype, _DTYPES[method])
    for place, value in enumerate(given.positional):
        is_dtype = place == 1 or (isinstance(value, Lib) and value.root == "torch")
        name = dtype_name(value) if is_dtype else device_name(value)
        store.assign(pipe, Pipeline.dtype if is_dtype else Pipeline.device, name)
    for key in ("dtype", "torch_dtype"):
        if key in given.keywords:
            store.assign(pipe, Pipeline.dtype, dtype_name(given.keywords[key]))
    if "device" in given.keywords:
        store.assign(pipe, Pipeline.device, device_name(given.keywords["device"]))
    if given.open:
        store.assign(pipe, Pipeline.device, given.open)
        store.assign(pipe, Pipeline.dtype, given.open)


def call_component(
    interpreter: Interpreter, part: Component, method: str, given: Arguments
) -> Value:
    """Call a method of a pipeline's part."""
    store = interpreter.store
    if method == "compile":
        store.assign(part, Component.compile, given.get("mode") or "default")
    elif method == "fuse_qkv_projections":
        store.assign(part, Component.fused, True)
    elif method in ("cuda", "cpu"):
        store.assign(part, Component.device, method)
        return part
    elif method in ("to", "half", "float", "bfloat16"):
        layout = given.get("memory_format")
        if layout is not None:
            store.assign(part, Component.layout, layout.last if isinstance(layout, Lib) else layout)
        place = given.get("device", None, next(iter(given.positional), None))
        if method == "to" and isinstance(place, (str, int)):
            store.assign(part, Component.device, device_name(place))
        dtypes = [value for value in given.positional if isinstance(value, Lib)]
        dtype = given.get("dtype", None, dtypes[0] if dtypes else None)
        if method != "to" or dtype is not None:
            store.assign(
                part,
                Component.dtype,
                _DTYPES.get(method, method) if method != "to" else dtype_name(dtype),
            )
        return part
    elif method == "eval":
        return part
    elif method not in NEUTRAL_PART_METHODS:
        keywords = [item for pair in given.keywords.items() for item in pair]
        change(interpreter, part, method, *given.positional, *keywords)
    return Part(Why.RESULT(function=method), owner=part)


def call_pipeline(
    interpreter: Interpreter,
    pipe: Pipeline | Unknown,
    given: Arguments,
    *,
    through_tgate: bool = False,
) -> Value:
    """Record a pipeline's call: the configuration as it is now, and the call's arguments."""
    if isinstance(pipe, Unknown):
        slots = _unknown_pipeline(pipe)
        slots.update(
            _call_fields(
                interpreter, pipe, pipe, _call_values(interpreter, pipe, given), given.open
            )
        )
    else:
        interpreter.spend(constants.size(pipe.settings) + constants.size(pipe.replaced))
        slots = pipeline_fields(pipe)
        values = _call_values(interpreter, slots["pipeline"], given)
        tgate: dict[str, Value] | None = None
        if through_tgate:
            tgate = accelerators.tgate_arguments(pipe.tgate, values)
            interpreter.store.assign(pipe, Pipeline.tgated, True)
        slots["accelerators"] = accelerators.findings(interpreter, pipe, tgate)
        slots.update(
            _call_fields(interpreter, slots["pipeline"], slots["model_id"], values, given.open)
        )
    interpreter.record_call(Call(slots))
    return Unknown(Why.PIPELINE_OUTPUT())


def pipeline_fields(pipe: Pipeline) -> Slots:
    """Return the fields that a pipeline has before it is called."""
    model_id = pipe.model_id
    name, scheduler_arguments = schedulers.findings(pipe.scheduler, model_id)
    settings = pipe.settings
    found = AbstractDict(dict(settings.slots)) if isinstance(settings, AbstractDict) else settings
    replaced = pipe.replaced
    parts = {
        key: pipe.slots[key]
        for key in sorted(COMPONENTS & {key for key in pipe.slots if isinstance(key, str)})
    }
    if isinstance(found, AbstractDict):
        for part_name, part in parts.items():
            if isinstance(part, Component):
                if Component.changed in part.slots:
                    found.slots[part_name] = part.changed
                for own, usual in _PART_SETTINGS.items():
                    present = MISSING if usual is None else pipe.slots[usual]
                    if own in part.slots and not same(part.slots[own], present):
                        found.slots[f"{part_name} {own.name}"] = part.slots[own]
    return {
        "pipeline": pipe.cls,
        "model_id": model_id,
        "scheduler": name,
        "scheduler_args": scheduler_arguments,
        "dtype": pipe.dtype,
        "device": pipe.device,
        "components": _replaced_parts(replaced, model_id),
        "settings": found,
    }


def _replaced_parts(replaced: Value, model_id: Value) -> Value:
    if not isinstance(replaced, AbstractDict):
        return replaced
    found: Slots = {}
    for name, part in replaced.slots.items():
        if not isinstance(part, Component):
            found[name] = part
        elif not same(part.of, model_id):
            found[name] = part.of
    return AbstractDict(found)


def _unknown_pipeline(pipe: Unknown) -> Slots:
    names = ("pipeline", "model_id", "scheduler", "scheduler_args", "accelerators")
    more = ("dtype", "device", "components", "settings")
    return dict.fromkeys((*names, *more), Unknown(pipe.why))


def _call_values(interpreter: Interpreter, cls: Value, given: Arguments) -> dict[str, Value]:
    """Return a call's arguments under their names."""
    values = given.named(_signature(cls).order, {})
    if "inference_step" in values and "num_inference_steps" not in values:
        interpreter.note(Why.STEPS_IGNORED())
        values["num_inference_steps"] = values.pop("inference_step")
    return values


def _signature(cls: Value) -> CallSignature:
    known = CALLS.get(cls) if isinstance(cls, str) else None
    return known or CallSignature(("prompt",), 0, 0.0)


def _call_fields(
    interpreter: Interpreter,
    cls: Value,
    model_id: Value,
    values: dict[str, Value],
    missing: Unknown | None,
) -> Slots:
    """Return the fields that a call's arguments give; ``missing``: there may be more of them."""
    signature = _signature(cls)

    def argument(name: str, default: Value) -> Value:
        value = clone(values.pop(name, None), interpreter.spend)
        if isinstance(value, Lib) and not is_symbol(value):
            value = Unknown(Why.SET_ELSEWHERE(name=value.path))
        return (missing or default) if value is None else value

    def by_class(name: str, default: Value) -> Value:
        unknown = Unknown(
            Why.PIPELINE_DEFAULT(name=name), (name, cls) if isinstance(cls, str) else None
        )
        return argument(name, default or unknown)

    model = model_of(model_id)
    size: Value = model.size if model else None
    whose = key_of(model_id)
    size = size or Unknown(Why.MODEL_IMAGE_SIZE(), None if whose is None else ("size", whose))
    steps = by_class("num_inference_steps", signature.steps)
    for name in ("timesteps", "sigmas"):
        schedule = values.get(name)
        items = schedule.items if isinstance(schedule, AbstractList) else None
        steps = len(items) if isinstance(items, tuple) else steps
    prompt = argument("prompt", None)
    fields: Slots = {
        "steps": steps,
        "guidance": by_class("guidance_scale", signature.guidance),
        "height": argument("height", size),
        "width": argument("width", size),
        "batch": _batch(prompt, values),
        "images_per_prompt": argument("num_images_per_prompt", 1),
        "prompt": prompt,
        "negative_prompt": argument("negative_prompt", None),
    }
    options = {
        name: clone(value, interpreter.spend)
        for name, value in values.items()
        if name not in NEUTRAL_CALL and not same(value, CALL_DEFAULTS.get(name))
    }
    fields["call_options"] = missing or AbstractDict(dict(options))
    return fields


def _batch(prompt: Value, values: dict[str, Value]) -> Value:
    """Return the number of prompts in a call."""
    items = prompt.items if isinstance(prompt, AbstractList) else prompt
    if isinstance(items, tuple):
        return len(items)
    if isinstance(prompt, AbstractList):
        return Unknown(Why.PROMPT_LIST())
    if isinstance(prompt, str):
        return 1
    if isinstance(prompt, Unknown):
        return Unknown(prompt.why, prompt.key)
    return Unknown(Why.PROMPT_EMBEDDINGS()) if "prompt_embeds" in values else 1
