"""What makes classes, methods and properties, and what ``object`` itself does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import taint
from worker.judging.static.interpreter.interpreter import Abandoned, Interpreter, Raised
from worker.judging.static.joining import clone, shallow
from worker.judging.static.objects import AbstractClass, AbstractDict, Instance
from worker.judging.static.operations import instances
from worker.judging.static.scopes import Function, Kind, Names, Partial
from worker.judging.static.values import MISSING, Lib, Unknown, Value

# Decorators that make a data class.
DATA_DECORATORS = frozenset(
    [
        "attr.define",
        "attr.frozen",
        "attr.s",
        "attrs.define",
        "attrs.frozen",
        "dataclasses.dataclass",
        "pydantic.dataclasses.dataclass",
    ]
)


# Decorators that leave what they decorate as it is, as far as anything here depends on it.
PLAIN_DECORATORS = frozenset(
    [
        "enum.unique",
        "functools.total_ordering",
        "typing.final",
        "typing.no_type_check",
        "typing.overload",
        "typing.override",
        "typing.runtime_checkable",
    ]
)


def _data_class(given: Arguments) -> Value:
    """Do what ``dataclass`` does, as a decorator with options or without."""
    cls = given.get("", 0)
    if not isinstance(cls, AbstractClass):
        return Partial(Lib("dataclasses.dataclass"), (), tuple(given.keywords.items()))
    cls.is_data = given.get("init", default=True) is not False
    cls.is_frozen = given.get("frozen", default=False) is True
    return cls


def _object_method(interpreter: Interpreter, given: Arguments, name: str) -> Value:
    """Call a method of ``object``, past the hooks of the class."""
    owner, attribute, value = (given.get("", place) for place in range(3))
    if name == "__new__" and isinstance(owner, AbstractClass):
        return Instance(Names(), owner)
    if isinstance(owner, Instance) and isinstance(attribute, str):
        if name == "__getattribute__":
            return instances.read_plainly(interpreter, owner, attribute)
        if name == "__setattr__":
            instances.write_plainly(interpreter, owner, attribute, value)
        if name == "__delattr__":
            interpreter.store.drop(owner.slots, attribute)
        return None
    if name in ("__init__", "__init_subclass__", "__setattr__", "__delattr__"):
        if not isinstance(attribute, (str, type(None))):
            taint(interpreter, [owner, value], Why.UNKNOWN_ATTRIBUTE())
        return None
    return Unknown(Why.RESULT(function=f"object.{name}"))


def _copy(interpreter: Interpreter, given: Arguments, hook: str) -> Value:
    """Return a copy; an object of the file's own class is first asked for its hooks."""
    owner = given.get("", 0)
    more = [AbstractDict()] if hook == "__deepcopy__" else []
    made = instances.call_special(interpreter, owner, hook, *more)
    if made is not MISSING:
        return made
    if isinstance(owner, Instance):
        _ask_for_state(interpreter, Instance(Names(), owner.cls))
    return clone(owner, interpreter.spend) if more else shallow(owner)


def _ask_for_state(interpreter: Interpreter, empty: Instance) -> None:
    """Look for ``__setstate__`` on an object that has no attributes yet, as copying does."""
    if not isinstance(empty.cls.find("__getattr__"), Function):
        return
    try:
        instances.read(interpreter, empty, "__setstate__")
    except Abandoned as error:
        if error.reason.code is not Why.TOO_MUCH_RECURSION:
            raise
        raise Raised("RecursionError", error.reason) from error
    except Raised as error:
        if error.exception != "AttributeError":
            raise


def _object_methods() -> dict[str, Callable[[Interpreter, Arguments], Value]]:
    names = ("getattribute", "setattr", "delattr", "init", "new", "init_subclass")
    return {f"object.__{name}__": partial(_object_method, name=f"__{name}__") for name in names}


def _with_kind(kind: Kind, *, is_cached: bool = False) -> Callable[[Arguments], Value]:
    def decorate(given: Arguments) -> Value:
        function = given.get("", 0)
        if not isinstance(function, Function):
            return Unknown(Why.FUNCTION_ATTRIBUTE())
        setter = given.get("fset", 1)
        return replace(function, kind=kind, is_cached=is_cached, setter=setter)

    return decorate


def _property_setter(given: Arguments) -> Value:
    """Do ``@name.setter``: the property is the first argument."""
    found, setter = given.get("", 0), given.get("", 1)
    return replace(found, setter=setter) if isinstance(found, Function) else found


def _field(given: Arguments) -> Value:
    return Partial(Lib("dataclasses.field"), (), tuple(given.keywords.items()))


def _namespace(given: Arguments) -> Value:
    return Instance(Names(given.keywords), AbstractClass({}, "SimpleNamespace"))


def _abstract(given: Arguments) -> Value:
    function = given.get("", 0)
    return replace(function, is_abstract=True) if isinstance(function, Function) else function


def _first(given: Arguments) -> Value:
    return given.get("", 0)


# What only looks at its arguments.
OF_ARGUMENTS: dict[str, Callable[[Arguments], Value]] = {
    "abc.abstractmethod": _abstract,
    "classmethod": _with_kind("class"),
    "dataclasses.field": _field,
    "functools.cached_property": _with_kind("property", is_cached=True),
    "property": _with_kind("property"),
    "property.deleter": _first,
    "property.setter": _property_setter,
    "staticmethod": _with_kind("static"),
    "types.SimpleNamespace": _namespace,
    **dict.fromkeys(DATA_DECORATORS, _data_class),
    **dict.fromkeys(PLAIN_DECORATORS, _first),
}
# What changes something.
FUNCTIONS: dict[str, Callable[[Interpreter, Arguments], Value]] = {
    **_object_methods(),
    "copy.copy": partial(_copy, hook="__copy__"),
    "copy.deepcopy": partial(_copy, hook="__deepcopy__"),
}
