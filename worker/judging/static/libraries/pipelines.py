"""What the methods of a pipeline, and of its parts, change."""

from __future__ import annotations

from worker.judging.facts.loading import READING
from worker.judging.facts.methods import (
    CHANGING,
    FREEU,
    LORA_METHODS,
    NEUTRAL_METHODS,
    NEUTRAL_PART_METHODS,
    OFFLOADING,
    SEQUENTIAL,
    SPLIT,
    Effect,
    effect_of,
)
from worker.judging.facts.signatures import signature
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments, without_defaults
from worker.judging.static.interpreter.effects import taint
from worker.judging.static.interpreter.interpreter import Interpreter, Raised
from worker.judging.static.joining import digest, fingerprint
from worker.judging.static.libraries import accelerators, lora, products
from worker.judging.static.libraries.pipeline_calls import call_pipeline
from worker.judging.static.libraries.placement import (
    MOVES,
    PART_MOVES,
    compilation,
    moved_component,
    moved_pipeline,
)
from worker.judging.static.objects import (
    AbstractDict,
    AbstractList,
    Component,
    Computed,
    Field,
    Made,
    Part,
    Pipeline,
    Slots,
)
from worker.judging.static.operations.attributes import change, write
from worker.judging.static.values import (
    MISSING,
    Unknown,
    Value,
)


def call_method(interpreter: Interpreter, pipe: Pipeline, method: str, given: Arguments) -> Value:
    """Call a method of a pipeline; a method not known here is kept as a setting."""
    store = interpreter.store
    settings = pipe.settings
    if method == "tgate":
        accelerators.refuse_tgate(pipe)
    if method in ("__call__", "tgate"):
        return call_pipeline(interpreter, pipe, given, through_tgate=method == "tgate")
    if method in ("cuda", "cpu", "half", "float"):  # models have these, pipelines do not
        raise Raised("AttributeError", Why.HAS_NO_PART(cls=pipe.cls, name=method))
    if method in MOVES:
        _move(interpreter, pipe, method, given)
        return pipe
    if method == "register_modules":
        for name, value in given.keywords.items():
            write(interpreter, pipe, name, value)
        if given.open is not None:
            taint(interpreter, [pipe], given.open.why)
        return None
    if method.startswith("_"):
        change(interpreter, pipe, method, *given.positional, *given.keywords.values())
    if method in NEUTRAL_METHODS or not isinstance(settings, AbstractDict):
        return _result(method)
    if method in OFFLOADING:
        store.assign(pipe, Pipeline.device, "cuda")
        _drop_of_parts(interpreter, pipe, Component.device)
        _record(interpreter, settings, method, given)
        return None
    if method in FREEU and isinstance(unet := pipe.slots.get("unet"), Component):
        call_component(interpreter, unet, method, given)
        return None
    if method in LORA_METHODS:
        before = settings.slots.get(lora.SETTING)
        after = lora.call(before, method, given)
        store.set(settings.slots, lora.SETTING, MISSING if after is None else after)
        return None
    _record(interpreter, settings, method, given)
    return _result(method)


def _result(method: str) -> Value:
    """Return what a method returns: nothing where its name says that it changes the pipeline."""
    known = signature("pipeline methods", method) is not None
    return None if known and method.startswith(CHANGING) else Unknown(Why.RESULT(function=method))


def _record(
    interpreter: Interpreter, settings: AbstractDict, method: str, given: Arguments
) -> None:
    """Do to a pipeline's settings what the table says of a method."""
    effect, store = effect_of(method), interpreter.store
    entry = _entry(method, given)
    if effect.needs and effect.needs not in settings.slots:
        return
    for name in effect.resets:
        store.drop(settings.slots, name)
    if effect.kind == "ends" and not (effect.selects and entry is not True):
        for name in effect.settings:
            store.drop(settings.slots, name)
        return
    (name, *_) = effect.settings
    before = settings.slots.get(name, MISSING)
    if effect.kind == "ends" and before is MISSING:
        return
    for item in _singly(entry) if effect.kind == "adds" else (entry,):
        if before is not MISSING and effect.kind != "sets":
            before = _joined(effect, method, before, item)
        else:
            before = item
    store.put(settings.slots, name, before)


def _singly(entry: Value) -> tuple[Value, ...]:
    """Return what a call adds, one by one where its arguments are lists of equal length."""
    if not isinstance(entry, AbstractDict):
        return (entry,)
    lists = {
        name: value.items
        for name, value in entry.slots.items()
        if isinstance(value, AbstractList) and isinstance(value.items, tuple)
    }
    counts = {len(items) for items in lists.values()}
    if len(counts) != 1:
        return (entry,)
    return tuple(
        AbstractDict({**entry.slots, **{name: items[place] for name, items in lists.items()}})
        for place in range(counts.pop())
    )


def _joined(effect: Effect, method: str, before: Value, entry: Value) -> Value:
    """Return what a setting holds after a further call that does not simply replace it."""
    keys = (fingerprint(before), method, fingerprint(entry))
    if method.startswith("enable_") and keys[0] is not None and keys[0] == keys[2]:
        return before
    if effect.kind == "adds":
        items = before.items if isinstance(before, AbstractList) else (before,)
        if isinstance(items, tuple):
            return AbstractList.of((*items, entry))
    return Unknown(Why.REPEATED_CALL(method=method), None if None in keys else digest(*keys))


def _entry(method: str, given: Arguments) -> Value:
    """Return what a setting holds: the arguments that are not the method's defaults."""
    known = signature("pipeline methods", method)
    order = known.order if known else tuple(map(str, range(len(given.positional))))
    arguments: Slots = given.named(order, {})
    arguments = {name: value for name, value in arguments.items() if name not in READING}
    if known is not None:
        arguments = without_defaults(arguments, known.defaults)
    if given.open is not None:
        arguments[AbstractDict.open] = given.open
    return AbstractDict(arguments) if arguments else True


def _drop_of_parts(interpreter: Interpreter, pipe: Pipeline, *fields: Field[Value]) -> None:
    for part in pipe.slots.values():
        if isinstance(part, Component):
            for field in fields:
                interpreter.store.drop(part.slots, field)


def _move(interpreter: Interpreter, pipe: Pipeline, method: str, given: Arguments) -> None:
    fields = moved_pipeline(method, given)
    settings = pipe.settings.slots if isinstance(pipe.settings, AbstractDict) else {}
    device = fields.get(Pipeline.device)
    is_split = device is not None and pipe.device == SPLIT
    if is_split or (
        SEQUENTIAL in settings and isinstance(device, str) and device.startswith("cuda")
    ):
        raise Raised("ValueError", Why.REFUSES(cls=pipe.cls, name="device"))
    of_parts = {Pipeline.dtype: Component.dtype, Pipeline.device: Component.device}
    _drop_of_parts(interpreter, pipe, *(of_parts[field] for field in fields))
    for field, value in fields.items():
        interpreter.store.assign(pipe, field, value)


def call_component(
    interpreter: Interpreter, part: Component, method: str, given: Arguments
) -> Value:
    """Call a method of a pipeline's part; one not known here may change what the part does."""
    if method in PART_MOVES:
        for field, value in moved_component(method, given).items():
            interpreter.store.set(part.slots, field, value)
        return part
    if method == "eval":
        return part
    if method == "compile":
        interpreter.store.assign(part, Component.compile, compilation(given))
    elif method == "load_state_dict" and isinstance(state := given.get("state_dict", 0), Computed):
        interpreter.store.assign(part, Component.weights, products.as_of_now(interpreter, state))
    elif method == "enable_cache":
        give_cache(interpreter, part, given.get("config", 0), known_to_it=True)
    elif method == "disable_cache" and part.knows_cache is True:
        interpreter.store.drop(part.slots, Component.cache)
        interpreter.store.assign(part, Component.knows_cache, False)
    elif method == "disable_cache" and part.knows_cache is False:
        pass  # it warns that there is none, also where a function gave it one
    elif method == "enable_freeu":
        interpreter.store.assign(part, Component.freeu, _entry(method, given))
    elif method == "disable_freeu":
        interpreter.store.drop(part.slots, Component.freeu)
    elif method == "fuse_qkv_projections":
        interpreter.store.assign(part, Component.fused, True)
    elif method not in NEUTRAL_PART_METHODS:
        keywords = [item for pair in given.keywords.items() for item in pair]
        change(interpreter, part, method, *given.positional, *keywords)
    return Part(Why.RESULT(function=method), owner=part)


def give_cache(
    interpreter: Interpreter, part: Component, config: Value, *, known_to_it: bool
) -> None:
    """Give a model one of diffusers' caches; ``enable_cache`` is known to the model, a function not.

    Raises:
        Raised: the model knows that it has one already.
    """
    if known_to_it and part.knows_cache is True:
        raise Raised("ValueError", Why.REFUSES(cls="enable_cache", name="config"))
    if not isinstance(config, Made):
        change(interpreter, part, "enable_cache", config)
        return
    before = part.slots.get(Component.cache, MISSING)
    after = products.as_of_now(interpreter, config)
    if before is not MISSING:
        keys = fingerprint(before), fingerprint(after)
        key = None if None in keys else digest(*keys)
        after = Unknown(Why.REPEATED_CALL(method="enable_cache"), key)
    interpreter.store.assign(part, Component.cache, after)
    if known_to_it:
        interpreter.store.assign(part, Component.knows_cache, True)
