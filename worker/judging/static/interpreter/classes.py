"""Classes that the file defines: how they are made, and what an instance of one starts with."""

from __future__ import annotations

import ast
from dataclasses import replace

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.bases import BARE_BASES, PLAIN_BASES
from worker.judging.static.interpreter.effects import may_call, taint
from worker.judging.static.interpreter.functions import call_function
from worker.judging.static.interpreter.interpreter import (
    NEXT,
    Abandoned,
    Done,
    Interpreter,
    Raised,
    StatementHandler,
)
from worker.judging.static.joining import same
from worker.judging.static.libraries import modules
from worker.judging.static.objects import (
    AbstractClass,
    Inherited,
    Instance,
    Pipeline,
    is_pipeline_class,
)
from worker.judging.static.operations.instances import call_special, inherited
from worker.judging.static.scopes import Function, Names, Partial, Scope
from worker.judging.static.values import (
    MISSING,
    SLOT,
    Lib,
    Unknown,
    Value,
    is_constant,
)

MAX_LINEAGE = 60  # classes that one inherits from
PYDANTIC = Lib("pydantic.BaseModel")
DATA_CLASSES = (Lib("typing.NamedTuple"), PYDANTIC)
PLAIN_METACLASSES = (None, Lib("abc.ABCMeta"), Lib("builtins.type"), Lib("enum.EnumMeta"))


def linearize(bases: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return what a class with these bases inherits from, in Python's order; None if it has none.

    C3: a class stands before its own bases, and bases stand in the order in which they are given.
    """
    waiting = [
        (base, *base.lineage) if isinstance(base, AbstractClass) else (base,) for base in bases
    ]
    waiting.append(bases)
    order: list[Value] = []
    while waiting := [line for line in waiting if line]:
        later = {id(cls) for line in waiting for cls in line[1:]}
        first = next((line[0] for line in waiting if id(line[0]) not in later), MISSING)
        if first is MISSING or len(order) > MAX_LINEAGE:
            return None if first is MISSING else tuple(order)
        order.append(first)
        waiting = [line[1:] if line[0] is first else line for line in waiting]
    return tuple(order)


def _define(interpreter: Interpreter, node: ast.ClassDef, scope: Scope) -> Done:
    bases = tuple(interpreter.evaluate(base, scope) for base in node.bases)
    decorators = [interpreter.evaluate(item, scope) for item in node.decorator_list]
    keywords = {item.arg or "": interpreter.evaluate(item.value, scope) for item in node.keywords}
    metaclass = keywords.pop("metaclass", None)
    if metaclass not in PLAIN_METACLASSES:  # it may make anything of the class
        bases = (Unknown(Why.BASE_EFFECT(cls=node.name)), *bases)
    lineage = linearize(bases)
    if lineage is None:
        raise Raised("TypeError", Why.NO_BASE_ORDER(cls=node.name))
    if len(lineage) > MAX_LINEAGE:
        raise Abandoned(Why.TOO_MANY_CLASSES(cls=node.name))
    is_data = any(getattr(base, "is_data", False) for base in lineage)
    is_data = is_data or any(base in lineage for base in DATA_CLASSES)
    inner = Scope(Names(), scope, is_class=True)
    cls = AbstractClass({}, node.name, lineage, is_data)
    interpreter.run_block(node.body, inner)
    cls.fields = inner.annotated
    for name, value in inner.names.items():
        cls.slots[name] = _member(cls, str(name), value)
    cls.lineage = _overridden(interpreter, cls)
    _tell_members(interpreter, cls, keywords)
    made: Value = cls
    if isinstance(metaclass, AbstractClass):
        made = inherited(Instance(Names(), metaclass))
    for decorator in reversed(decorators):
        made = interpreter.call(decorator, Arguments([made]))
    interpreter.store.put(scope.redirected.get(node.name, scope).names, node.name, made)
    return NEXT


def _member(cls: AbstractClass, name: str, value: Value) -> Value:
    if isinstance(value, Function):
        function = value if value.owner is not None else replace(value, owner=cls)
        setter = function.setter
        if isinstance(setter, Function) and setter.owner is None:
            function = replace(function, setter=replace(setter, owner=cls))
        return function
    if cls.is_enum and is_constant(value) and not name.startswith("_"):
        return Instance(Names(name=name, value=value), cls)
    return value


def _tell_members(interpreter: Interpreter, cls: AbstractClass, keywords: dict[str, Value]) -> None:
    """Call the hooks that Python calls when a class is made."""
    for name, value in list(cls.slots.items()):
        if isinstance(value, Instance) and value.cls is not cls:
            call_special(interpreter, value, "__set_name__", cls, name)
    hook = cls.find("__init_subclass__", cls)
    if isinstance(hook, Function):
        call_function(interpreter, hook, Arguments([cls], dict(keywords)), cls)
    elif isinstance(hook, Inherited):
        taint(interpreter, list(keywords.values()), hook.why)


def _overridden(interpreter: Interpreter, cls: AbstractClass) -> tuple[Value, ...]:
    """Return a class's lineage; what methods of the file make of diffusers' classes is unknown.

    A pipeline class stays: its methods are looked at when a pipeline of it is made.
    """
    if not _methods(interpreter, cls):
        return cls.lineage
    unknown = Unknown(Why.BASE_CHANGED(cls=cls.name))
    return tuple(
        unknown
        if isinstance(base, Lib) and base.root == "diffusers" and not is_pipeline_class(base)
        else base
        for base in cls.lineage
    )


def _methods(interpreter: Interpreter, cls: AbstractClass) -> set[str]:
    """Return the names of the methods that the file gives a class."""
    own = [base for base in (cls, *cls.lineage) if isinstance(base, AbstractClass)]
    interpreter.spend(SLOT * sum(len(base.slots) for base in own))
    return {
        name
        for base in own
        for name, item in base.slots.items()
        if not is_constant(item) and not name.startswith("__annot")
    }


def load_pipeline(
    interpreter: Interpreter, cls: AbstractClass, method: str, arguments: Arguments
) -> Value:
    """Return what a class makes that the file derives from a pipeline class of diffusers.

    Its own ``__call__`` is followed. What any other method of it changes of the base, which
    calls its methods by itself, is not known.
    """
    base = cls.pipeline_base
    assert base is not None  # only such a class reads as having the method
    path = f"{base.path}.{method}" if method else base.path
    made = modules.call_diffusers(interpreter, Lib(path), arguments)
    if isinstance(made, Pipeline):
        interpreter.store.assign(made, Pipeline.subclass, cls)
        foreign = any(
            not isinstance(item, AbstractClass) and item is not base and item not in PLAIN_BASES
            for item in cls.lineage
        )
        if foreign or _methods(interpreter, cls) - {"__call__"}:
            taint(interpreter, [made], Why.BASE_CHANGED(cls=cls.name))
    return made


def instantiate(interpreter: Interpreter, cls: AbstractClass, arguments: Arguments) -> Value:
    """Return a new instance of a class of the file, its constructor run."""
    if cls.is_enum:
        return _enum_member(interpreter, cls, arguments)
    if cls.pipeline_base is not None:
        return load_pipeline(interpreter, cls, "", arguments)
    for base in cls.lineage:
        if isinstance(base, Lib) and base.root == "diffusers":
            return modules.call_diffusers(interpreter, base, arguments)
    missing = cls.abstract_method()
    if missing is not None:
        raise Raised("TypeError", Why.HAS_NO_ATTRIBUTE(cls=cls.name, name=missing))
    instance = Instance(Names(), cls)
    maker = cls.find("__new__")
    if isinstance(maker, Function):
        made = call_function(interpreter, maker, arguments.with_first(cls), cls)
        if not isinstance(made, Instance) or made.cls is not cls:
            return made
        instance = made
    _construct(interpreter, instance, cls, arguments)
    if isinstance(cls.find("__del__"), Function):  # nobody knows when
        taint(interpreter, [instance], Why.METHOD(cls=cls.name, name="__del__"))
    return instance


def _construct(
    interpreter: Interpreter, instance: Instance, cls: AbstractClass, arguments: Arguments
) -> None:
    constructor = cls.find("__init__")
    if isinstance(constructor, Function):
        call_function(interpreter, constructor, arguments.with_first(instance), instance)
    elif cls.is_data and not isinstance(constructor, Inherited):
        _fill_data(interpreter, instance, cls, arguments)
    elif isinstance(constructor, Inherited):
        given = [*arguments.positional, *arguments.keywords.values()]
        taint(interpreter, given, constructor.why)
        may_call(interpreter, given, constructor.why)
        unknown = inherited(instance)  # whatever the base keeps there, it is the object's
        for name in [*arguments.keywords, *cls.slots]:
            if not isinstance(cls.slots.get(name), Function):
                interpreter.store.put(instance.slots, name, unknown)
    elif constructor is not MISSING:
        interpreter.call(constructor, arguments.with_first(instance))
    elif arguments.positional and _takes_nothing(cls):
        raise Raised("TypeError", Why.TOO_MANY_ARGUMENTS(function=cls.name))


def _takes_nothing(cls: AbstractClass) -> bool:
    """Whether a class without a constructor inherits none from a library either."""
    bare = all(isinstance(base, AbstractClass) or base in BARE_BASES for base in cls.lineage)
    return bare and cls.find("__new__") is MISSING


def _enum_member(interpreter: Interpreter, cls: AbstractClass, arguments: Arguments) -> Value:
    wanted = arguments.get("value", 0)
    interpreter.spend(SLOT * len(cls.slots))
    for member in cls.slots.values():
        value = member.slots.get("value") if isinstance(member, Instance) else MISSING
        if same(value, wanted) or (is_constant(wanted) and value == wanted):  # 1 finds 1.0
            return member
    return Unknown(Why.ENUM_MEMBER(cls=cls.name))


def _fill_data(
    interpreter: Interpreter, instance: Instance, cls: AbstractClass, arguments: Arguments
) -> None:
    """Do what the ``__init__`` of a dataclass or named tuple does."""
    _refuse(cls, arguments)
    fields: dict[str, Value] = {}
    for name in cls.all_fields():
        fields[name] = cls.find(name)
        if fields[name] is MISSING:
            fields[name] = Unknown(Why.FIELD_WITHOUT_VALUE())
    values = arguments.named(tuple(fields), fields)
    for name, default in fields.items():
        value = values[name]
        if PYDANTIC in cls.lineage and value is not default:
            value = _converted(value, default)
        if isinstance(value, Partial) and value.function == Lib("dataclasses.field"):
            value = _field_default(interpreter, value)
        interpreter.store.put(instance.slots, name, value)
    after = cls.find("__post_init__")
    more = len(after.node.args.args) - 1 if isinstance(after, Function) else 0
    if more > 0:  # the fields that are not kept
        given = [*arguments.positional, *arguments.keywords.values()]
        taint(interpreter, [*given, instance], Why.METHOD(cls=cls.name, name="__post_init__"))
    not_kept = [Unknown(Why.FIELD_WITHOUT_VALUE())] * more
    call_special(interpreter, instance, "__post_init__", *not_kept)


def _refuse(cls: AbstractClass, given: Arguments) -> None:
    """Raise if a data class certainly refuses these arguments."""
    fields = cls.all_fields()
    if given.open is not None or PYDANTIC in cls.lineage:
        return
    if len(given.positional) > len(fields):
        raise Raised("TypeError", Why.TOO_MANY_ARGUMENTS(function=cls.name))
    taken = set(fields[: len(given.positional)])
    for name in given.keywords:
        if name in taken or (name not in fields and f"_{name}" not in fields):  # attrs drops a _
            raise Raised("TypeError", Why.TAKES_NO(function=cls.name, name=name))
    for name in fields:
        is_given = name in taken or name in given.keywords or name.lstrip("_") in given.keywords
        if not is_given and name != "_" and cls.find(name) is MISSING:  # _: KW_ONLY
            raise Raised("TypeError", Why.NEEDS(function=cls.name, name=name))


def _converted(value: Value, default: Value) -> Value:
    """Return what pydantic makes of a value: a text may be taken for a number."""
    if not isinstance(value, str) or isinstance(default, str) or value.isidentifier():
        return value
    return value if " " in value.strip() else Unknown(Why.FIELD_WITHOUT_VALUE())


def _field_default(interpreter: Interpreter, field: Partial) -> Value:
    keywords = dict(field.keywords)
    if "default_factory" in keywords:
        return interpreter.call(keywords["default_factory"], Arguments())
    return keywords.get("default", Unknown(Why.FIELD_WITHOUT_VALUE()))


STATEMENTS: dict[type[ast.stmt], StatementHandler] = {ast.ClassDef: _define}
