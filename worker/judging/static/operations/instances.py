"""Objects of the file's own classes: their attributes, and the methods that Python calls by itself.

What a base does that is not in the file is not known: it may change whatever the object holds and
whatever it is given.
"""

from __future__ import annotations

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.bases import BARE_BASES
from worker.judging.static.interpreter.effects import may_call, taint
from worker.judging.static.interpreter.interpreter import Interpreter, Raised
from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    Inherited,
    Instance,
    Part,
    Pipeline,
)
from worker.judging.static.scopes import Bound, Function, Partial, Scope, Super
from worker.judging.static.values import MISSING, Lib, Unknown, Value

INHERITED = "_inherited"  # the name of a Part that stands for what an unknown base gives


def call_special(interpreter: Interpreter, owner: Value, name: str, *given: Value) -> Value:
    """Call a method that Python looks up in the class; MISSING if the class has none."""
    if not isinstance(owner, Instance):
        return MISSING
    method = owner.cls.find(name)
    if isinstance(method, Inherited):
        taint(interpreter, [owner, *given], method.why)
        may_call(interpreter, [owner, *given], method.why)
        return inherited(owner)
    if method is MISSING:
        return MISSING
    return interpreter.call(_bind(owner, method), Arguments(list(given)))


def inherited(owner: Instance) -> Part:
    """Return what a base that is not here gives: what is done with it may change the object."""
    return Part(Why.BASE_EFFECT(cls=owner.cls.name), owner=owner, name=INHERITED)


def _bind(owner: Instance, found: Value) -> Value:
    if isinstance(found, Unknown) and not isinstance(found, Part):
        # It may be a method that is given the object when it is called.
        return Part(found.why, found.key, owner=owner, name=INHERITED)
    if not isinstance(found, Function) or found.kind == "static":
        return found
    return Bound(owner.cls if found.kind == "class" else owner, found)


def read(interpreter: Interpreter, owner: Instance, name: str) -> Value:
    """Return ``owner.name`` as Python does, by the class's own hooks."""
    hook = owner.cls.find("__getattribute__")
    if isinstance(hook, Function):
        return interpreter.call(Bound(owner, hook), Arguments([name]))
    return read_plainly(interpreter, owner, name)


def read_plainly(interpreter: Interpreter, owner: Instance, name: str) -> Value:
    """Return ``object.__getattribute__(owner, name)``, else what ``__getattr__`` returns."""
    found = owner.cls.find(name)
    computes = isinstance(found, Function) and found.kind == "property"
    is_cached = isinstance(found, Function) and found.is_cached
    if name in owner.slots and (is_cached or not computes):
        return owner.slots[name]
    if name == "__class__":
        return owner.cls
    if name == "__dict__":
        return AbstractDict(owner.slots)  # the very slots: what is put there is an attribute
    if isinstance(found, Instance) and isinstance(found.cls.find("__get__"), Function):
        return call_special(interpreter, found, "__get__", owner, owner.cls)
    if computes and isinstance(found, Function):
        value = interpreter.call(Bound(owner, found), Arguments())
        if found.is_cached:
            interpreter.store.put(owner.slots, name, value)
        return value
    if found is not MISSING and not isinstance(found, Inherited):
        return _bind(owner, found)
    return _read_missing(interpreter, owner, name, found)


def _read_missing(interpreter: Interpreter, owner: Instance, name: str, found: Value) -> Value:
    hook = owner.cls.find("__getattr__")
    if isinstance(hook, Function) and found is MISSING:
        return interpreter.call(Bound(owner, hook), Arguments([name]))
    if isinstance(found, Inherited):
        taint(interpreter, [owner], found.why)  # it may be a property
        may_call(interpreter, [owner], found.why)
        return inherited(owner)
    if name in ("_replace", "_asdict") and owner.cls.is_named_tuple:
        path = "dataclasses.replace" if name == "_replace" else "builtins.vars"
        return Partial(Lib(path), (owner,), ())
    has_more = any(
        not isinstance(base, AbstractClass) and base not in BARE_BASES for base in owner.cls.lineage
    )
    is_mangled = name.startswith("_") and "__" in name[1:]
    if is_mangled:
        return inherited(owner)
    if AbstractDict.open in owner.slots or has_more:
        return Unknown(Why.ATTRIBUTE(name=name))
    raise Raised("AttributeError", Why.HAS_NO_ATTRIBUTE(cls=owner.cls.name, name=name))


def write(interpreter: Interpreter, owner: Instance, name: str, value: Value) -> None:
    """Do ``owner.name = value`` as Python does, by the class's own hooks."""
    hook = owner.cls.find("__setattr__")
    if isinstance(hook, Function):
        interpreter.call(Bound(owner, hook), Arguments([name, value]))
        return
    if isinstance(hook, Inherited):
        taint(interpreter, [value], hook.why)
    elif owner.cls.keeps(name):
        raise Raised("FrozenInstanceError", Why.HAS_NO_SETTER(cls=owner.cls.name, name=name))
    write_plainly(interpreter, owner, name, value)


def write_plainly(interpreter: Interpreter, owner: Instance, name: str, value: Value) -> None:
    """Do ``object.__setattr__(owner, name, value)``."""
    found = owner.cls.find(name)
    if isinstance(found, Function) and found.kind == "property" and not found.is_cached:
        if found.setter is None:
            raise Raised("AttributeError", Why.HAS_NO_SETTER(cls=owner.cls.name, name=name))
        interpreter.call(found.setter, Arguments([owner, value]))
    elif isinstance(found, Instance) and found.cls.may_have("__set__"):
        call_special(interpreter, found, "__set__", owner, value)
    else:
        if isinstance(found, Unknown) and not isinstance(found, Inherited):
            taint(interpreter, [owner, value], found.why)  # it may be a descriptor
            value = Unknown(Why.SETTER(name=name))
        interpreter.store.put(owner.slots, name, value)


def delete(interpreter: Interpreter, owner: Instance, name: str) -> None:
    """Do ``del owner.name``."""
    if call_special(interpreter, owner, "__delattr__", name) is not MISSING:
        return
    if isinstance(owner.cls.find(name), Function):  # a property with a deleter
        may_call(interpreter, [owner], Why.DELETED(name=name))
        taint(interpreter, [*interpreter.built], Why.DELETED(name=name))
        return
    if name not in owner.slots and AbstractDict.open not in owner.slots:
        raise Raised("AttributeError", Why.HAS_NO_ATTRIBUTE(cls=owner.cls.name, name=name))
    interpreter.store.drop(owner.slots, name)


def read_of_class(cls: AbstractClass, name: str) -> Value:
    """Return an attribute of a class itself."""
    found = cls.find(name)
    if isinstance(found, Function) and found.kind == "class":
        return Bound(cls, found)
    if isinstance(found, Lib) and cls.pipeline_base is not None and found.last == name:
        return Bound(cls, name)
    if found is MISSING and name in ("__name__", "__qualname__"):
        return cls.name
    if found is MISSING and name == "__dict__":
        return AbstractDict(cls.slots)
    return Unknown(Why.ATTRIBUTE(name=name)) if found is MISSING else found


def read_super(interpreter: Interpreter, owner: Super, name: str) -> Value:
    """Return ``super().name``."""
    receiver = owner.receiver
    cls = receiver if isinstance(receiver, AbstractClass) else owner.after
    if isinstance(receiver, Instance):
        cls = receiver.cls
    if isinstance(receiver, Pipeline) and isinstance(receiver.subclass, AbstractClass):
        cls = receiver.subclass
    found = cls.find(name, owner.after)
    if isinstance(found, Function):
        return Bound(receiver, found) if found.kind != "static" else found
    if isinstance(found, Inherited):
        taint(interpreter, [receiver], found.why)
        return inherited(receiver) if isinstance(receiver, Instance) else Unknown(found.why)
    if isinstance(found, Lib) and cls.pipeline_base is not None:
        if isinstance(receiver, Pipeline):
            return Part(Why.ATTRIBUTE(name=name), owner=receiver, name=name, own=True)
        return Bound(receiver, name)
    if found is MISSING:
        return Partial(Lib(f"builtins.object.{name}"), (receiver,), ())
    return found


def super_of(scope: Scope) -> Value:
    """Return what ``super()`` means in a method's scope."""
    inner: Scope | None = scope
    while inner is not None and (inner.function is None or inner.function.owner is None):
        inner = inner.parent
    if inner is None or inner.function is None or inner.function.owner is None:
        return Unknown(Why.SUPER_OUTSIDE_METHOD())
    return Super(inner.receiver, inner.function.owner)
