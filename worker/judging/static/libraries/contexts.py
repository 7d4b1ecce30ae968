"""Contexts and switches of torch: what holds for every call made while they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from worker.judging.facts.torch_state import (
    AUTOCAST_DTYPES,
    CONTEXTS,
    HALVES,
    ONLY_FOR_FLOAT32,
    SETTERS,
    SWITCHES,
)
from worker.judging.static.arguments import Arguments, without_defaults
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.joining import clone, same
from worker.judging.static.libraries.placement import dtype_name
from worker.judging.static.objects import AbstractDict, Pipeline, Slots, truth
from worker.judging.static.scopes import Context
from worker.judging.static.values import MISSING, Lib, Unknown, Value, is_constant


def make(path: str, given: Arguments) -> Context | None:
    """Return what a context manager of this path makes of its arguments; None for any other."""
    known = CONTEXTS.get(path)
    if known is None:
        return None
    values = given.named(known.order, known.defaults)
    if known.setting == "autocast":
        return Context(known.setting, _autocast(values, given.open))
    return Context(known.setting, _arguments(without_defaults(values, known.defaults), given.open))


def _autocast(values: Slots, missing: Unknown | None) -> Value:
    enabled = truth(values.pop("enabled"))
    if enabled is not True:
        return enabled or MISSING
    device, dtype = values.get("device_type"), values.get("dtype")
    if isinstance(device, str):
        device = device.partition(":")[0]
        dtype = AUTOCAST_DTYPES.get(device) if dtype is None else dtype
    return _arguments({"device_type": device, "dtype": dtype_name(dtype)}, missing)


def _arguments(values: Slots, missing: Unknown | None) -> AbstractDict:
    return AbstractDict(values if missing is None else {**values, AbstractDict.open: missing})


@contextmanager
def entered(interpreter: Interpreter, contexts: Iterable[Context]) -> Iterator[None]:
    """Let contexts hold while the body runs."""
    ambient, before = interpreter.ambient, dict(interpreter.ambient)
    names = []
    for context in contexts:
        names.append(context.setting)
        interpreter.store.set(ambient, context.setting, context.value)
    try:
        yield
    finally:
        for name in names:
            interpreter.store.set(ambient, name, before.get(name, MISSING))


def switch(interpreter: Interpreter, context: Context, method: str) -> Value:
    """Do what calling ``__enter__`` or ``__exit__`` by hand does."""
    value = {"__enter__": context.value, "__exit__": MISSING}.get(method)
    if value is not None:
        interpreter.store.set(interpreter.ambient, context.setting, value)
    return context


def set_switch(interpreter: Interpreter, function: Lib, given: Arguments) -> bool:
    """Do what a function does that sets a switch of torch; whether it is one."""
    if function.path not in SETTERS:
        return False
    name, meanings = SETTERS[function.path]
    value = given.positional[0] if given.positional else next(iter(given.keywords.values()), None)
    if given.open is not None:
        value = given.open
    value = dtype_name(value) if isinstance(value, Lib) else value
    value = meanings.get(value, value) if is_constant(value) else value
    interpreter.store.put(interpreter.ambient, name, value)
    return True


def ambient_settings(interpreter: Interpreter, pipe: Pipeline) -> Slots:
    """Return what holds beside a pipeline's own settings when it is called."""
    found: Slots = {}
    for name, value in interpreter.ambient.items():
        if name in SWITCHES and same(value, SWITCHES[name]):
            continue
        if name in ONLY_FOR_FLOAT32 and pipe.dtype in HALVES:
            continue
        if name == "autocast" and _elsewhere(value, pipe.device):
            continue
        found[name] = clone(value, interpreter.spend)
    return found


def _elsewhere(autocast: Value, device: Value) -> bool:
    """Whether autocast is asked for on another kind of device than the pipeline's."""
    asked = autocast.slots.get("device_type") if isinstance(autocast, AbstractDict) else None
    if not isinstance(asked, str) or not isinstance(device, str):
        return False
    return device.partition(":")[0] in ("cuda", "cpu", "mps", "xpu") and not device.startswith(
        asked
    )
