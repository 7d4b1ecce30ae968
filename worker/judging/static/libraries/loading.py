"""How a pipeline is made: from a model, from another pipeline, from parts."""

from __future__ import annotations

from worker.judging.facts.models import canonical_id, model_of
from worker.judging.facts.parts import COMPONENTS, UNSEEN
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.joining import shallow
from worker.judging.static.libraries import schedulers
from worker.judging.static.libraries.placement import device_name, dtype_name
from worker.judging.static.objects import AbstractDict, Component, Pipeline
from worker.judging.static.operations.attributes import write
from worker.judging.static.values import Lib, Unknown, Value

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


def build(interpreter: Interpreter, name: str, method: str, given: Arguments) -> Value:
    """Return what ``Name(…)``, or a class method that loads or converts, makes."""
    if method in ("from_pretrained", "from_single_file"):
        model_id = _model_named(given)
        pipe = _new(_class_of(name, model_id), model_id, given)
    elif method == "from_pipe":
        pipe = _from_parts(name, given.get("pipeline", 0), given)
    elif method == "":
        pipe = _from_parts(name, (given.spread or {}).get(AbstractDict.parts_of), given)
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


def _model_named(given: Arguments) -> Value:
    place = given.keywords.get("pretrained_model_link_or_path", Unknown(Why.NO_MODEL_NAMED()))
    model_id = given.get("pretrained_model_name_or_path", 0, place)
    if isinstance(model_id, Lib):
        return Unknown(Why.SET_ELSEWHERE(name=model_id.path))
    return model_id


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


def _from_parts(name: str, source: Value, given: Arguments) -> Pipeline:
    """Build a pipeline from another one, whose parts it shares, or from parts loaded singly."""
    if not isinstance(source, Pipeline):
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
