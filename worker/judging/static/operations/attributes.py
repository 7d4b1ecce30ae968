"""Attributes: reading and writing them, on everything that has some."""

from __future__ import annotations

from worker.judging.facts.packages import PACKAGES
from worker.judging.facts.parts import CHANGED_BY_METHODS, COMPONENTS, PLAIN_ATTRIBUTES, UNSEEN
from worker.judging.facts.signatures import parts_of
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import taint
from worker.judging.static.interpreter.interpreter import Abandoned, Interpreter, Raised
from worker.judging.static.joining import digest, fingerprint, key_of
from worker.judging.static.libraries import products
from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    AbstractObject,
    Component,
    Computed,
    Helper,
    Instance,
    Made,
    Part,
    Pipeline,
    Scheduler,
    SchedulerConfig,
    truth,
)
from worker.judging.static.operations import instances
from worker.judging.static.scopes import Bound, Function, Partial, Super
from worker.judging.static.values import (
    MISSING,
    Lib,
    Unknown,
    Value,
    is_constant,
)

# The attributes of a pipeline that a file reads as they are.
_PIPELINE_FIELDS = {
    "scheduler": Pipeline.scheduler,
    "dtype": Pipeline.dtype,
    "device": Pipeline.device,
}
DICT_METHODS = frozenset(
    ["copy", "get", "items", "keys", "pop", "setdefault", "to_dict", "update", "values"]
)
ELEMENT = "an element"  # what is changed where no attribute is


def read(interpreter: Interpreter, owner: Value, name: str) -> Value:
    """Return ``owner.name``."""
    if isinstance(owner, Computed) and name not in PLAIN_ATTRIBUTES:
        return products.attribute(interpreter, owner, name)
    if isinstance(owner, Part) and name not in PLAIN_ATTRIBUTES and owner.name != "config":
        return owner.inner(name)
    if isinstance(owner, Unknown):
        return Unknown(owner.why)
    if isinstance(owner, Lib):
        path = f"{owner.path}.{name}"
        return interpreter.overridden.get(path, Lib(path))
    if isinstance(owner, (Pipeline, Component, Scheduler, SchedulerConfig, Helper, Made)):
        return _read_library_object(interpreter, owner, name)
    if isinstance(owner, Instance):
        return instances.read(interpreter, owner, name)
    if isinstance(owner, AbstractClass):
        return instances.read_of_class(owner, name)
    if isinstance(owner, Super):
        return instances.read_super(interpreter, owner, name)
    if isinstance(owner, Function):
        return _read_function(owner, name)
    if owner is None:
        raise Raised("AttributeError", Why.NONE_HAS_NO_ATTRIBUTE(name=name))
    return Bound(owner, name)


def _read_function(function: Function, name: str) -> Value:
    if function.kind == "property" and name in ("setter", "getter", "deleter"):
        return Partial(Lib(f"builtins.property.{name}"), (function,), ())
    if name == "__defaults__":  # the values themselves: a list among them can be changed here
        return function.defaults or None
    return function.name if name == "__name__" else Unknown(Why.FUNCTION_ATTRIBUTE())


def _or_unknown(found: Value, name: str) -> Value:
    return Unknown(Why.ATTRIBUTE(name=name)) if found is MISSING else found


def _read_library_object(interpreter: Interpreter, owner: AbstractObject, name: str) -> Value:
    found: Value = MISSING
    if isinstance(owner, Pipeline):
        found = _read_pipeline(interpreter, owner, name)
    elif isinstance(owner, Scheduler) and name == "config":
        entries = {key: owner.slots[key] for key in owner.slots if key is not Scheduler.cls}
        return SchedulerConfig(entries, owner)
    elif isinstance(owner, SchedulerConfig):
        return _read_configuration(owner, name)
    elif isinstance(owner, (Helper, Made)):
        found = owner.slots.get(name, MISSING)
    if found is not MISSING:
        return found
    if name in PLAIN_ATTRIBUTES:
        return Unknown(Why.ATTRIBUTE(name=name))
    return Part(Why.ATTRIBUTE(name=name), owner=owner, name=name, own=True, root=name)


def _read_pipeline(interpreter: Interpreter, pipe: Pipeline, name: str) -> Value:
    """Return an attribute that the pipeline is known to have; MISSING for any other."""
    if isinstance(pipe.subclass, AbstractClass):
        found = pipe.subclass.find(name)
        if isinstance(found, Function):
            bound = found if found.kind == "static" else Bound(pipe, found)
            return interpreter.call(bound, Arguments()) if found.kind == "property" else bound
    if name in COMPONENTS:
        if has_part(pipe, name) is False:
            raise Raised("AttributeError", Why.HAS_NO_PART(cls=pipe.cls, name=name))
        return component(interpreter, pipe, name)
    if name in pipe.slots:
        return pipe.slots[name]
    if name == "components":
        any_of_them = Part(Why.PIPELINE_COMPONENTS(), owner=pipe, name="_components")
        return AbstractDict({AbstractDict.parts_of: pipe, AbstractDict.open: any_of_them})
    if name in _PIPELINE_FIELDS:
        return pipe.slots[_PIPELINE_FIELDS[name]]
    return _or_unknown(pipe.helper, name) if name == "deepcache" else MISSING


def _read_configuration(config: SchedulerConfig, name: str) -> Value:
    if name in config.slots:
        return config.slots[name]
    return Bound(config, name) if name in DICT_METHODS else Unknown(Why.CONFIGURATION_VALUE())


def has_part(pipe: Pipeline, name: str) -> bool | None:
    """Whether a pipeline has this part; None for a class whose parts are not known."""
    cls = pipe.cls
    known = parts_of(cls) if isinstance(cls, str) else None
    return True if name in pipe.slots else None if known is None else name in known


def component(interpreter: Interpreter, pipe: Pipeline, name: str) -> Value:
    """Return a pipeline's part, made at its first use."""
    if name not in pipe.slots:
        slots = {Component.of: pipe.model_id, Component.role: name, Component.home: pipe.settings}
        interpreter.store.put(pipe.slots, name, Component(slots))
    return pipe.slots[name]


def write(interpreter: Interpreter, owner: Value, name: str, value: Value) -> None:
    """Do ``owner.name = value``."""
    store = interpreter.store
    if isinstance(owner, Lib) and _is_code(owner, value):
        raise Abandoned(Why.LIBRARY_CHANGED(name=f"{owner.path}.{name}"))
    if isinstance(owner, Lib):
        store.put(interpreter.overridden, f"{owner.path}.{name}", value)
        if owner.root == "torch":
            store.put(interpreter.ambient, f"{owner.path}.{name}", value)
    elif isinstance(owner, Pipeline):
        _write_pipeline(interpreter, owner, name, value)
    elif isinstance(owner, Instance):
        instances.write(interpreter, owner, name, value)
    elif isinstance(owner, (Helper, Made, AbstractClass)):
        store.put(owner.slots, name, value)
    else:
        change(interpreter, owner, name, value)


def _is_code(owner: Lib, value: Value) -> bool:
    """Whether setting an attribute changes what a library does, not a switch that it offers."""
    computing = owner.root in ("accelerate", "torch", "transformers")
    return owner.root in PACKAGES or (computing and not is_constant(value))


def _write_pipeline(interpreter: Interpreter, pipe: Pipeline, name: str, value: Value) -> None:
    store = interpreter.store
    if name == "scheduler":
        store.assign(pipe, Pipeline.scheduler, value)
    elif name in COMPONENTS:
        store.put(pipe.slots, name, value)
        if value is None:
            value = Unknown(Why.TAKEN_AWAY(name=name), name)
        if name not in UNSEEN and isinstance(pipe.replaced, AbstractDict):
            store.put(pipe.replaced.slots, name, value)
            _note_order(interpreter, pipe, pipe.replaced, name)
    else:
        store.put(pipe.slots, name, value)
        if not isinstance(value, Helper):  # people keep it there
            change(interpreter, pipe, name, value)


def _note_order(
    interpreter: Interpreter, pipe: Pipeline, replaced: AbstractDict, name: str
) -> None:
    """Note that a part took the place of one to which something may have been done before.

    What was done to the model that is taken out does not hold for the one that is put in.
    """
    part, done = pipe.slots[name], pipe.settings
    same_model = isinstance(part, Component) and part.home is done
    if name in CHANGED_BY_METHODS and not same_model and truth(done) is not False:
        why = Why.CHANGE(name=name)
        interpreter.store.put(replaced.slots, f"{name} before", Unknown(why, fingerprint(done)))


def delete(interpreter: Interpreter, owner: Value, name: str) -> None:
    """Do ``del owner.name``."""
    if isinstance(owner, Instance):
        instances.delete(interpreter, owner, name)
    else:
        write(interpreter, owner, name, Unknown(Why.DELETED(name=name), ("deleted", name)))


def change(interpreter: Interpreter, owner: Value, name: str, *by: Value) -> None:
    """Note that something was done to an object of a library that may change what it does.

    Two files that do the same with the same plain values are still alike.

    Args:
        interpreter: the interpreter.
        owner: the object, or something inside of it.
        name: the attribute that was set, or the method called.
        by: what it was set to, or the arguments.
    """
    keys = tuple(map(key_of, by))
    why = Why.ELEMENT_CHANGE() if name == ELEMENT else Why.CHANGE(name=name)
    what = Unknown(why, None if None in keys else (name, keys))
    settings = owner.settings if isinstance(owner, Pipeline) else None
    if isinstance(settings, AbstractDict) and not name.startswith("__"):
        interpreter.store.put(settings.slots, name, what)
    elif isinstance(owner, (Component, Scheduler)):
        slot = Component.changed if isinstance(owner, Component) else Scheduler.open
        before = owner.slots.get(slot)
        if isinstance(before, Unknown):
            both = before.key is not None and what.key is not None
            what = Unknown(what.why, digest(before.key, what.key) if both else None)
        interpreter.store.put(owner.slots, slot, what)
    elif isinstance(owner, Part) and not owner.name.startswith("_"):
        change(interpreter, owner.owner, owner.name or name, Unknown(what.why))
    else:
        taint(interpreter, [owner, *by], what.why)
