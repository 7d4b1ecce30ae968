"""How a pipeline is made: from a model, from another pipeline, from parts."""

from __future__ import annotations

from worker.judging.facts.loading import (
    CHOOSES_NOTHING,
    CHOOSING,
    OF_PARTS,
    OF_PIPELINES,
    USUAL_CLASSES,
)
from worker.judging.facts.models import canonical_id, model_of
from worker.judging.facts.parts import CHANGED_BY_METHODS, COMPONENTS, UNSEEN
from worker.judging.facts.signatures import parts_of
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.interpreter import Interpreter, Raised
from worker.judging.static.joining import fingerprint, key_of, same, shallow
from worker.judging.static.libraries import schedulers
from worker.judging.static.libraries.placement import device_name, dtype_name, loaded_dtype
from worker.judging.static.objects import AbstractDict, AbstractList, Component, Pipeline, Slots
from worker.judging.static.operations.attributes import write
from worker.judging.static.values import Lib, Unknown, Value


def build(interpreter: Interpreter, cls: str, method: str, given: Arguments) -> Value:
    """Return what ``cls(…)``, or a class method that loads or converts, makes."""
    if method in ("from_pretrained", "from_single_file"):
        model_id = _model_named(given)
        pipe = _new(_class_of(cls, model_id, given), model_id, given)
        options = _options(given)
        if method == "from_single_file":
            options.slots["single file"] = True
        pipe.slots[Pipeline.settings] = options
    elif method == "from_pipe":
        pipe = _from_parts(cls, given.get("pipeline", 0), given)
        _convert(interpreter, cls, pipe, given)
    elif method == "":
        pipe = _from_parts(cls, (given.spread or {}).get(AbstractDict.parts_of), given)
    else:
        return Unknown(Why.RESULT(function=f"{cls}.{method}"))
    for part in pipe.slots.values():
        if isinstance(part, Component) and part.home is None:
            part.slots[Component.home] = pipe.settings
    interpreter.built.append(pipe)
    for name, value in given.keywords.items():
        if name in COMPONENTS - UNSEEN and not (value is None and name in _NONE_ANYWAY):
            write(interpreter, pipe, name, value)
    return pipe


# Parts that a pipeline need not have.
_NONE_ANYWAY = frozenset({"controlnet", "image_encoder"})


def _options(given: Arguments) -> AbstractDict:
    """Return the keywords that choose what is loaded, or how the pipeline behaves."""
    options: Slots = {
        key: value
        for key, value in given.keywords.items()
        if key not in OF_PIPELINES and key not in COMPONENTS and not chooses_nothing(key, value)
    }
    if given.open is not None and given.open.why.code is not Why.PIPELINE_COMPONENTS:
        options[AbstractDict.open] = given.open
    return AbstractDict(options)


def chooses_nothing(keyword: str, value: Value) -> bool:
    """Whether a keyword of a loading function has a value with which it changes nothing."""
    return any(same(value, neutral) for neutral in CHOOSES_NOTHING.get(keyword, ()))


def load_part(name: str, method: str, given: Arguments, *, of_diffusers: bool) -> Component:
    """Return what a model's, or tokenizer's, class loads by itself.

    Args:
        name: the class's name.
        method: from_pretrained, from_single_file or from_config.
        given: the arguments.
        of_diffusers: whether diffusers has the class, not transformers.
    """
    place = given.keywords.get("pretrained_model_link_or_path_or_dict")
    of = given.get("pretrained_model_name_or_path", 0, place)
    options: Slots = {
        key: value
        for key, value in given.keywords.items()
        if key not in OF_PARTS and not chooses_nothing(key, value)
    }
    options["class"] = name
    if method == "from_config":
        options["weights"] = "random"
    elif method == "from_single_file":
        options["single file"] = True
    elif model_of(of) is not None and "subfolder" not in options and given.open is None:
        raise Raised("OSError", Why.NO_CONFIGURATION(name=of))
    if given.open is not None:
        options[AbstractDict.open] = given.open
    part = Component(
        {
            Component.of: of,
            Component.options: AbstractDict(options),
        }
    )
    dtype = given.get("torch_dtype", default=given.get("dtype"))
    if not of_diffusers and dtype is not None:
        part.slots[Component.dtype] = dtype_name(dtype)
    elif of_diffusers and (dtype is not None or "quantization_config" not in options):
        part.slots[Component.dtype] = _dtype_of_part(method, of, options, given)
    placed = {"device_map", "quantization_config"} & given.keywords.keys() or given.open
    if not placed and not name.endswith(("Tokenizer", "TokenizerFast", "Processor", "Extractor")):
        part.slots[Component.device] = "cpu"
    return part


def _dtype_of_part(method: str, of: Value, options: Slots, given: Arguments) -> Value:
    """Return the number format of a model of diffusers; without a word it is that of its file."""
    dtype = loaded_dtype(given)
    told = {"torch_dtype", "dtype"} & given.keywords.keys() or given.open is not None
    if told or method == "from_config" or (model_of(of) and "variant" not in given.keywords):
        return dtype
    keys = fingerprint((of, AbstractDict(options), given.keywords.get("variant")))
    return Unknown(Why.DTYPE(), None if keys is None else ("dtype", keys))


def replaced_parts(pipe: Pipeline) -> Value:
    """Return the parts that are not those of the pipeline's own model, with what they are."""
    if not isinstance(pipe.replaced, AbstractDict):
        return pipe.replaced
    found: Slots = {}
    for name, part in pipe.replaced.slots.items():
        items = part.items if isinstance(part, AbstractList) else None
        if isinstance(part, Component):
            found |= _described(part, name, pipe)
        elif isinstance(items, tuple) and all(isinstance(item, Component) for item in items):
            each = [_one_of_many(item, name, pipe) for item in items if isinstance(item, Component)]
            found[name] = AbstractList.of(tuple(each))
        else:
            found[name] = part
    return AbstractDict(found)


def _one_of_many(part: Component, name: str, pipe: Pipeline) -> Value:
    """Return what one of the models is that stand in one place, with all that was done to it."""
    told = (Component.of, Component.options, Component.role, Component.home, Component.device)
    done = {str(key): value for key, value in part.slots.items() if key not in told}
    return AbstractDict({**_described(part, name, pipe), **done})


def _described(part: Component, name: str, pipe: Pipeline) -> Slots:
    """Return what a part is, under its name; nothing where it is the pipeline's own."""
    if part.home is not None:
        return _from_another_pipeline(part, name, pipe)
    options = _options_of_part(part, name, pipe)
    if not options and _is_own(part, pipe):
        return {}
    return {name: AbstractDict({"of": part.of, **options}) if options else part.of}


def _from_another_pipeline(part: Component, name: str, pipe: Pipeline) -> Slots:
    """Return a part that another pipeline was loaded with, with what was done to that one."""
    if part.home is pipe.settings:
        return {}
    done = (
        part.home.slots if isinstance(part.home, AbstractDict) else {AbstractDict.open: part.home}
    )
    if done:
        return {name: AbstractDict({"of": part.of, **done})}
    return {} if _is_own(part, pipe) else {name: part.of}


def _is_own(part: Component, pipe: Pipeline) -> bool:
    """Whether a part is what the pipeline was loaded with."""
    settings = pipe.settings.slots if isinstance(pipe.settings, AbstractDict) else {}
    return same(part.of, pipe.model_id) and settings.keys().isdisjoint(CHOOSING)


def _options_of_part(part: Component, name: str, pipe: Pipeline) -> Slots:
    """Return what chose a part beside its model's id, where it is not what a pipeline chooses."""
    if not isinstance(part.options, AbstractDict):
        return {}
    options = dict(part.options.slots)
    cls = options.pop("class", None)
    if options.get("subfolder") == name:
        del options["subfolder"]
    elif _is_own(part, pipe) and not {"subfolder", "single file"} & options.keys():
        options["subfolder"] = None  # not where the pipeline finds its own
    if name in USUAL_CLASSES and cls not in USUAL_CLASSES[name]:
        options["class"] = cls
    return options


def _model_named(given: Arguments) -> Value:
    place = given.keywords.get("pretrained_model_link_or_path", Unknown(Why.NO_MODEL_NAMED()))
    model_id = given.get("pretrained_model_name_or_path", 0, place)
    if isinstance(model_id, Lib):
        return Unknown(Why.SET_ELSEWHERE(name=model_id.path))
    return model_id


def _class_of(name: str, model_id: Value, given: Arguments) -> Value:
    """Return the class that ``name.from_pretrained(model_id)`` makes."""
    custom = given.keywords.get("custom_pipeline")
    if custom is not None:
        key = key_of(custom)
        return Unknown(Why.PIPELINE_CLASS(), None if key is None else ("custom pipeline", key))
    if name != "DiffusionPipeline" and not name.startswith("AutoPipeline"):
        return name
    model = model_of(model_id)
    if model and name == "DiffusionPipeline":
        return model.pipeline
    if model and name == "AutoPipelineForText2Image":
        return model.pipeline.replace("Img2Img", "")
    task = name.removeprefix("AutoPipelineFor").replace("DiffusionPipeline", "Text2Image")
    if model and task in ("Image2Image", "Inpainting"):
        short = {"Image2Image": "Img2Img", "Inpainting": "Inpaint"}[task]
        return model.pipeline.replace("Img2Img", "").replace("Pipeline", f"{short}Pipeline")
    key = (task, canonical_id(model_id)) if isinstance(model_id, str) else None
    return Unknown(Why.PIPELINE_CLASS(), key)


def _new(cls: Value, model_id: Value, given: Arguments) -> Pipeline:
    device_map = given.get("device_map")
    scheduler = given.get("scheduler")
    known = parts_of(cls) if isinstance(cls, str) else None
    # Made at once, so that a part is the same whichever path of the file looks at it first.
    own = {"unet"} if known is None else known & CHANGED_BY_METHODS | known & {"vae"}
    parts = {
        name: Component({Component.of: model_id, Component.role: name}) for name in sorted(own)
    }
    return Pipeline(
        {
            Pipeline.cls: cls,
            Pipeline.model_id: model_id,
            Pipeline.dtype: loaded_dtype(given),
            Pipeline.device: "cpu" if device_map is None else device_name(device_map),
            Pipeline.scheduler: schedulers.default_of(model_id) if scheduler is None else scheduler,
            **parts,
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
        pipe = _new(name, model_id or Unknown(Why.SEPARATE_PARTS_MODEL()), given)
        pipe.slots[Pipeline.settings] = _options(given)
        return pipe
    pipe = _new(_class_of(name, source.model_id, given), source.model_id, given)
    shared = (Pipeline.dtype, Pipeline.device, Pipeline.settings, Pipeline.tgated)
    for slot in (*COMPONENTS, *shared):
        if slot in source.slots:
            pipe.slots[slot] = source.slots[slot]
    if "scheduler" not in given.keywords:
        pipe.slots[Pipeline.scheduler] = source.scheduler
    pipe.slots[Pipeline.replaced] = shallow(source.replaced)
    pipe.slots[Pipeline.options] = _options(given)
    return pipe


def _convert(interpreter: Interpreter, name: str, pipe: Pipeline, given: Arguments) -> None:
    """Move what ``from_pipe`` makes: a class's own takes float32 unless told, the automatic none."""
    if name.startswith("AutoPipeline"):
        return
    dtype = loaded_dtype(given)
    interpreter.store.assign(pipe, Pipeline.dtype, dtype)
    for slot in COMPONENTS & pipe.slots.keys():
        part = pipe.slots[slot]
        if isinstance(part, Component) and not slot.startswith("tokenizer"):  # that has no weights
            interpreter.store.assign(part, Component.dtype, dtype)
