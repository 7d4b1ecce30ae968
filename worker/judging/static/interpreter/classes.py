"""Classes that the file defines: how they are made, and what an instance of one starts with."""

from __future__ import annotations

import ast
from dataclasses import replace

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
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
from worker.judging.static.objects import AbstractClass, Instance
from worker.judging.static.operations import attributes
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
DATA_CLASSES = (Lib("typing.NamedTuple"), Lib("pydantic.BaseModel"))


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
    decorators = [getattr(item, "function", item) for item in decorators]
    is_data = any(getattr(item, "last", "") == "dataclass" for item in decorators)
    lineage = linearize(bases)
    if lineage is None:
        raise Raised("TypeError", Why.NO_BASE_ORDER(cls=node.name))
    if len(lineage) > MAX_LINEAGE:
        raise Abandoned(Why.TOO_MANY_CLASSES(cls=node.name))
    is_data = is_data or any(getattr(base, "is_data", False) for base in lineage)
    is_data = is_data or any(base in lineage for base in DATA_CLASSES)
    inner = Scope(Names(), scope, is_class=True)
    cls = AbstractClass({}, node.name, lineage, is_data)
    interpreter.run_block(node.body, inner)
    cls.fields = inner.annotated
    for name, value in inner.names.items():
        member = value
        if isinstance(value, Function) and value.owner is None:
            member = replace(value, owner=cls)
        elif cls.is_enum and is_constant(value) and not str(name).startswith("_"):
            member = Instance(Names(name=name, value=value), cls)
        cls.slots[name] = member
    cls.lineage = _overridden(interpreter, cls)
    interpreter.store.put(scope.redirected.get(node.name, scope).names, node.name, cls)
    return NEXT


def _overridden(interpreter: Interpreter, cls: AbstractClass) -> tuple[Value, ...]:
    """Return a class's lineage; what methods of the file make of a pipeline class is unknown."""
    own = [base for base in (cls, *cls.lineage) if isinstance(base, AbstractClass)]
    interpreter.spend(SLOT * sum(len(base.slots) for base in own))
    if not any(isinstance(item, Function) for base in own for item in base.slots.values()):
        return cls.lineage
    unknown = Unknown(Why.BASE_CHANGED(cls=cls.name))
    return tuple(
        unknown if isinstance(base, Lib) and base.root == "diffusers" else base
        for base in cls.lineage
    )


def instantiate(interpreter: Interpreter, cls: AbstractClass, arguments: Arguments) -> Value:
    """Return a new instance of a class of the file, its constructor run."""
    if cls.is_enum:
        return _enum_member(interpreter, cls, arguments)
    for base in cls.lineage:
        if isinstance(base, Lib) and base.root == "diffusers":
            return modules.call_diffusers(interpreter, base, arguments)
    instance = Instance(Names(), cls)
    constructor = attributes.find(cls, "__init__")
    if isinstance(constructor, Function):
        call_function(interpreter, constructor, arguments.with_first(instance), instance)
    elif cls.is_data:
        _fill_data(interpreter, instance, cls, arguments)
    elif arguments.keywords or arguments.positional or arguments.open:
        # A base that is not here takes them, and may set any attribute by them.
        unknown = Unknown(Why.BASE_EFFECT(cls=cls.name))
        for name in [*arguments.keywords, *cls.slots]:
            if not isinstance(cls.slots.get(name), Function):
                interpreter.store.put(instance.slots, name, unknown)
    return instance


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
    fields: dict[str, Value] = {}
    lineage = [base for base in (cls, *cls.lineage) if isinstance(base, AbstractClass)]
    for member in reversed(lineage):
        for name in member.fields:
            fields[name] = member.slots.get(name, Unknown(Why.FIELD_WITHOUT_VALUE()))
    values = arguments.named(tuple(fields), fields)
    for name in fields:
        value = values[name]
        if isinstance(value, Partial) and value.function == Lib("dataclasses.field"):
            value = _field_default(interpreter, value)
        interpreter.store.put(instance.slots, name, value)
    after = attributes.find(cls, "__post_init__")
    if isinstance(after, Function):
        call_function(interpreter, after, Arguments([instance]), instance)


def _field_default(interpreter: Interpreter, field: Partial) -> Value:
    keywords = dict(field.keywords)
    if "default_factory" in keywords:
        return interpreter.call(keywords["default_factory"], Arguments())
    return keywords.get("default", Unknown(Why.FIELD_WITHOUT_VALUE()))


STATEMENTS: dict[type[ast.stmt], StatementHandler] = {ast.ClassDef: _define}
