"""What the methods of a pipeline, and of its parts, change."""

from __future__ import annotations

from worker.judging.facts.methods import NEUTRAL_METHODS, NEUTRAL_PART_METHODS, UNDOES
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import taint
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.joining import key_of
from worker.judging.static.libraries.pipeline_calls import call_pipeline
from worker.judging.static.libraries.placement import (
    MOVES,
    PART_MOVES,
    moved_component,
    moved_pipeline,
)
from worker.judging.static.objects import AbstractDict, Component, Part, Pipeline, Slots
from worker.judging.static.operations.attributes import change, write
from worker.judging.static.values import (
    Unknown,
    Value,
)


def call_method(interpreter: Interpreter, pipe: Pipeline, method: str, given: Arguments) -> Value:
    """Call a method of a pipeline; a method not known here is kept as a setting."""
    store = interpreter.store
    settings = pipe.settings
    if method in ("__call__", "tgate"):
        return call_pipeline(interpreter, pipe, given, through_tgate=method == "tgate")
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
    for field, value in moved_pipeline(method, given).items():
        store.assign(pipe, field, value)


def call_component(
    interpreter: Interpreter, part: Component, method: str, given: Arguments
) -> Value:
    """Call a method of a pipeline's part; one not known here may change what the part does."""
    if method in PART_MOVES:
        for field, value in moved_component(method, given).items():
            interpreter.store.assign(part, field, value)
        return part
    if method == "eval":
        return part
    if method == "compile":
        interpreter.store.assign(part, Component.compile, given.get("mode") or "default")
    elif method == "fuse_qkv_projections":
        interpreter.store.assign(part, Component.fused, True)
    elif method not in NEUTRAL_PART_METHODS:
        keywords = [item for pair in given.keywords.items() for item in pair]
        change(interpreter, part, method, *given.positional, *keywords)
    return Part(Why.RESULT(function=method), owner=part)
