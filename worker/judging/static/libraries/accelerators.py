"""What DeepCache, tomesd and T-GATE do to a pipeline, recorded on its parts.

Each follows its package: DeepCacheSDHelper reads its parameters when the pipeline runs, tomesd
patches the UNet, and T-GATE's loaders ignore every argument but DeepCache's: only the arguments
of ``pipe.tgate()`` count.
"""

from __future__ import annotations

from worker.accelerators.tgate import DEEPCACHE_LOADER_DEFAULTS, described
from worker.judging.facts.packages import ACCELERATOR_PACKAGES
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import taint
from worker.judging.static.interpreter.interpreter import Interpreter, Raised
from worker.judging.static.libraries.refusals import refuse_twice
from worker.judging.static.objects import (
    AbstractDict,
    Component,
    Helper,
    Part,
    Pipeline,
    Slots,
)
from worker.judging.static.operations.attributes import change, component, has_part, read
from worker.judging.static.values import (
    Lib,
    Unknown,
    Value,
    is_constant,
)

_DEEPCACHE = ACCELERATOR_PACKAGES["deepcache"]
_TGATE = ACCELERATOR_PACKAGES["tgate"]
_TOME = ACCELERATOR_PACKAGES["tome"]
(_HELPER,) = _DEEPCACHE.entry_points
_APPLY, _REMOVE = _TOME.entry_points


def call_package(interpreter: Interpreter, function: Lib, given: Arguments) -> Value:
    """Call a name of the packages DeepCache, tomesd or tgate."""
    name = function.last
    if name == _HELPER:
        return _make_helper(given)
    if name == _APPLY:
        return _apply_tome(interpreter, given)
    if name == _REMOVE:
        unet = _patched(interpreter, given.get("model", 0), name)
        if isinstance(unet, Component):
            interpreter.store.assign(unet, Component.tome, None)
        else:
            change(interpreter, unet, _REMOVE)
        return given.get("model", 0)
    if _TGATE.knows(name) and name.endswith("Loader"):
        return _load_tgate(interpreter, name, given)
    if function.path.count(".") == 1:  # not in one of its modules
        raise Raised("AttributeError", Why.HAS_NO_ATTRIBUTE(cls=function.root, name=name))
    taint(
        interpreter, [*given.positional, *given.keywords.values()], Why.FUNCTION(path=function.path)
    )
    return Unknown(Why.RESULT(function=function.path))


def _make_helper(given: Arguments) -> Helper:
    _refuse_others(_HELPER, given, ("pipe",))
    pipe = given.get("pipe", 0)
    # The helper keeps no pipe where it is given None.
    return Helper({} if pipe is None else {"pipe": pipe})


def _refuse_others(function: str, given: Arguments, order: tuple[str, ...]) -> None:
    """Raise if a function is given an argument that it does not take, or one twice."""
    refuse_twice(order, given)
    unexpected = given.keywords.keys() - set(order)
    if unexpected:
        raise Raised("TypeError", Why.TAKES_NO(function=function, name=min(unexpected)))
    if len(given.positional) > len(order):
        raise Raised("TypeError", Why.TOO_MANY_ARGUMENTS(function=function))


def call_helper(interpreter: Interpreter, helper: Helper, method: str, given: Arguments) -> Value:
    """Call a method of a DeepCacheSDHelper."""
    store = interpreter.store
    if method == "set_params":
        _refuse_others(method, given, tuple(_DEEPCACHE.defaults))
        values = given.named(tuple(_DEEPCACHE.defaults), _DEEPCACHE.defaults)
        store.put(helper.slots, "params", AbstractDict(dict(values)))
        return None
    unet = _unet_of(interpreter, helper.slots.get("pipe"))
    if method not in ("enable", "disable"):
        change(interpreter, unet, method)
        return Unknown(Why.HELPER_RESULT(method=method))
    if "pipe" not in helper.slots:
        # enable() has a parameter for the pipe, but never reads it.
        raise Raised("AttributeError", Why.HELPER_WITHOUT_PIPE())
    if not isinstance(unet, Component):
        return None
    enabled = unet.deepcache
    if method == "disable":
        if enabled is None:
            raise Raised("KeyError", Why.NOT_ENABLED())
        # One beneath it stays.
        left = None if enabled is helper else Unknown(Why.REPEATED_CALL(method=method))
        store.assign(unet, Component.deepcache, left)
        store.assign(helper, Helper.twice, False)
    else:
        if enabled is helper:
            store.assign(helper, Helper.twice, True)
        alone = enabled is helper or enabled is None
        # A second helper wraps what the first has wrapped.
        both = Unknown(Why.REPEATED_CALL(method=method))
        store.assign(unet, Component.deepcache, helper if alone else both)
    return None


def _unet_of(interpreter: Interpreter, pipe: Value) -> Value:
    """Return ``pipe.unet`` as the helper reads it."""
    if isinstance(pipe, Pipeline):
        return read(interpreter, pipe, "unet")
    if pipe is not None and (isinstance(pipe, Component) or is_constant(pipe)):
        raise Raised("AttributeError", Why.HAS_NO_PART(cls=_kind(pipe), name="unet"))
    return pipe


def _patched(interpreter: Interpreter, model: Value, function: str) -> Value:
    """Return what tomesd patches: a pipeline's UNet, or a model of diffusers."""
    if isinstance(model, Pipeline):
        if has_part(model, "unet") is False:
            raise Raised("AttributeError", Why.HAS_NO_PART(cls=model.cls, name="unet"))
        return component(interpreter, model, "unet")
    inside = isinstance(model, Part) and model.root in _INSIDE_A_UNET
    foreign = isinstance(model, Component) and model.role in _OF_OTHER_LIBRARIES
    if inside or foreign or is_constant(model):
        raise Raised("RuntimeError", Why.NOT_PATCHABLE(function=function))
    return model


# Attributes of a UNet that hold modules of torch, not models of diffusers.
_INSIDE_A_UNET = frozenset(
    ["conv_in", "conv_out", "down_blocks", "mid_block", "time_embedding", "up_blocks"]
)
_OF_OTHER_LIBRARIES = frozenset(
    [
        *("feature_extractor", "image_encoder", "safety_checker", "text_encoder", "text_encoder_2"),
        *("tokenizer", "tokenizer_2"),
    ]
)


def _kind(value: Value) -> str:
    if isinstance(value, Component):
        return str(value.role or "a model")
    return type(value).__name__


def _apply_tome(interpreter: Interpreter, given: Arguments) -> Value:
    order = ("model", *_TOME.defaults)
    _refuse_others(_APPLY, given, order)
    values = given.named(order, _TOME.defaults)
    model = values.pop("model", given.open)
    unet = _patched(interpreter, model, _APPLY)
    if isinstance(unet, Component):
        interpreter.store.assign(unet, Component.tome, AbstractDict(dict(values)))
    else:
        change(interpreter, unet, _APPLY)
    return model


def _load_tgate(interpreter: Interpreter, name: str, given: Arguments) -> Value:
    pipe = given.get("pipe", 0)
    if "DeepCache" in name:
        _refuse_others(name, given, ("pipe", *DEEPCACHE_LOADER_DEFAULTS))
    if not isinstance(pipe, Pipeline):
        return pipe
    interpreter.store.assign(pipe, Pipeline.tgate, name)
    if "DeepCache" in name:
        helper = Helper({"pipe": pipe})
        params = Arguments(
            keywords={
                key: given.get(key, position, default)
                for position, (key, default) in enumerate(DEEPCACHE_LOADER_DEFAULTS.items(), 1)
            }
        )
        call_helper(interpreter, helper, "set_params", params)
        call_helper(interpreter, helper, "enable", Arguments())
        interpreter.store.assign(pipe, Pipeline.helper, helper)
    return pipe


def refuse_tgate(pipe: Pipeline) -> None:
    """Raise if a pipeline has no ``tgate`` method, or that of another kind of pipeline."""
    if pipe.tgate is None and isinstance(pipe.settings, AbstractDict):
        raise Raised("AttributeError", Why.HAS_NO_PART(cls=pipe.cls, name="tgate"))
    kinds = {"StableDiffusionPipeline": "SD", "StableDiffusionXLPipeline": "SDXL"}
    own = kinds.get(pipe.cls) if isinstance(pipe.cls, str) else None
    if own is not None and isinstance(pipe.tgate, str):
        of_loader = pipe.tgate.removeprefix("Tgate").removesuffix("Loader")
        if of_loader.removesuffix("DeepCache") != own:
            raise Raised("TypeError", Why.OTHER_LOADER(cls=pipe.cls, name=pipe.tgate))


def tgate_arguments(loader: Value, given: dict[str, Value]) -> dict[str, Value]:
    """Take T-GATE's parameters out of a call's arguments and return them, defaults filled in."""
    defaults = _TGATE.defaults_of(loader if isinstance(loader, str) else "")
    return described({name: given.pop(name, default) for name, default in defaults.items()})


def findings(interpreter: Interpreter, pipe: Pipeline, tgate: dict[str, Value] | None) -> Value:
    """Return the field ``accelerators`` of a call: names to parameters, those that are on.

    Args:
        interpreter: the interpreter.
        pipe: the pipeline called.
        tgate: T-GATE's parameters if the call went through ``pipe.tgate``.
    """
    denoiser = next((name for name in ("unet", "transformer") if has_part(pipe, name)), "unet")
    unet = component(interpreter, pipe, denoiser)
    if not isinstance(unet, Component):
        return Unknown(unet.why if isinstance(unet, Unknown) else Why.FOREIGN_UNET())
    found: Slots = {}
    deepcache = unet.deepcache
    if isinstance(deepcache, Helper):
        found["deepcache"] = _params_of(interpreter, deepcache)
    elif deepcache is not None:
        found["deepcache"] = deepcache
    tome = unet.tome
    if tome is not None:
        found["tome"] = AbstractDict(dict(tome.slots)) if isinstance(tome, AbstractDict) else tome
    if tgate is not None:
        found["tgate"] = AbstractDict(dict(tgate))
    elif isinstance(pipe.tgated, Unknown):
        found["tgate"] = pipe.tgated
    elif pipe.tgated:
        interpreter.note(Why.LEFT_OVER_TGATE())
        found["tgate"] = AbstractDict({"left over": True})
    for part in (unet, pipe.slots.get("transformer")):
        changed = part.changed if isinstance(part, Component) else None
        if isinstance(changed, Unknown):  # it may well be an accelerator, or undo one
            return Unknown(changed.why, None if found else changed.key)
    return AbstractDict(found)


def _params_of(interpreter: Interpreter, helper: Helper) -> Value:
    if helper.twice is True:
        interpreter.note(Why.ENABLED_TWICE())
        return AbstractDict({"broken": "enabled twice"})
    params = helper.slots.get("params")
    if params is None:
        interpreter.note(Why.PARAMS_NOT_SET())
        return AbstractDict({"broken": "set_params missing"})
    return AbstractDict(dict(params.slots)) if isinstance(params, AbstractDict) else params
