"""Operators, by the methods of the file's classes where an operand has one."""

from __future__ import annotations

import ast

from worker.judging.reasons.codes import Why
from worker.judging.static import objects
from worker.judging.static.interpreter.effects import doubt, taint
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.objects import (
    AbstractObject,
    Component,
    Helper,
    Instance,
    Lazy,
    Pipeline,
    Scheduler,
)
from worker.judging.static.operations import constants
from worker.judging.static.operations.instances import call_special
from worker.judging.static.values import MISSING, Lib, Unknown, Value

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.MatMult: "matmul",
    ast.Div: "truediv",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.BitOr: "or",
    ast.BitAnd: "and",
    ast.BitXor: "xor",
    ast.LShift: "lshift",
    ast.RShift: "rshift",
}
_UNARY: dict[type[ast.unaryop], str] = {
    ast.USub: "neg",
    ast.UAdd: "pos",
    ast.Invert: "invert",
}
# Each with what the other operand is asked.
_COMPARE: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("eq", "eq"),
    ast.NotEq: ("ne", "ne"),
    ast.Lt: ("lt", "gt"),
    ast.LtE: ("le", "ge"),
    ast.Gt: ("gt", "lt"),
    ast.GtE: ("ge", "le"),
}
_CONSTANT_BASES = frozenset(
    Lib(path)
    for path in (
        "builtins.float",
        "builtins.int",
        "builtins.str",
        "enum.IntEnum",
        "enum.IntFlag",
        "enum.StrEnum",
    )
)
_NOT_IMPLEMENTED = Lib("builtins.NotImplemented")
# What an operator of something unknown may change.
_CHANGEABLE = (Pipeline, Component, Helper, Scheduler, Instance)


def as_constant(value: Value) -> Value:
    """Return what a member of an enumeration of numbers or texts counts as."""
    if not isinstance(value, Instance) or not value.cls.is_enum:
        return value
    counts = any(base in _CONSTANT_BASES for base in value.cls.lineage)
    return value.slots["value"] if counts else value


def _ask(interpreter: Interpreter, questions: list[tuple[Value, str, Value]]) -> Value:
    """Call the first of these methods that there is; MISSING if none answers."""
    for owner, name, other in questions:
        answer = call_special(interpreter, owner, f"__{name}__", other)
        if answer is not MISSING and answer != _NOT_IMPLEMENTED:
            return answer
    return MISSING


def _mix(interpreter: Interpreter, left: Value, right: Value) -> None:
    """Let something unknown that is an operand do what it may to the other one."""
    for unknown, other in ((left, right), (right, left)):
        if isinstance(unknown, Unknown) and isinstance(other, _CHANGEABLE):
            taint(interpreter, [other], unknown.why)


def binary(
    interpreter: Interpreter, op: ast.operator, left: Value, right: Value, *, in_place: bool = False
) -> Value:
    """Return ``left op right``, or what ``left op= right`` binds."""
    left, right = as_constant(left), as_constant(right)
    if isinstance(left, AbstractObject) or isinstance(right, AbstractObject):
        name = _BINARY[type(op)]
        questions = [(left, f"i{name}", right)] if in_place else []
        questions += [(left, name, right), (right, f"r{name}", left)]
        answer = _ask(interpreter, questions)
        if answer is not MISSING:
            return answer
        _mix(interpreter, left, right)
    return constants.binary(op, left, right)


def unary(interpreter: Interpreter, op: ast.unaryop, value: Value) -> Value:
    """Return ``op value``."""
    if isinstance(op, ast.Not):
        counts = truth(interpreter, value)
        return Unknown(counts.why) if isinstance(counts, Unknown) else not counts
    answer = call_special(interpreter, value, f"__{_UNARY[type(op)]}__")
    return constants.unary(op, value) if answer is MISSING else answer


def compare(interpreter: Interpreter, op: ast.cmpop, left: Value, right: Value) -> Value:
    """Return ``left op right``."""
    if not isinstance(op, (ast.Is, ast.IsNot)) and as_constant(left) is not as_constant(right):
        left, right = as_constant(left), as_constant(right)
    if not isinstance(left, AbstractObject) and not isinstance(right, AbstractObject):
        return constants.compare(op, left, right)
    if isinstance(op, (ast.In, ast.NotIn)):
        if isinstance(right, Lazy):  # it is searched as far as what is found
            doubt(interpreter, lambda: right.produce(lambda item: None), Why.MEMBERSHIP())
            interpreter.store.assign(right, Lazy.taken, Unknown(Why.PARTLY_TAKEN()))
            return Unknown(Why.MEMBERSHIP())
        answer = call_special(interpreter, right, "__contains__", left)
        if answer is not MISSING:
            return unary(interpreter, ast.Not(), answer) if isinstance(op, ast.NotIn) else answer
    elif type(op) in _COMPARE:
        own, others = _COMPARE[type(op)]
        answer = _ask(interpreter, [(left, own, right), (right, others, left)])
        if answer is not MISSING:
            return answer
        if isinstance(op, ast.NotEq):
            return unary(interpreter, ast.Not(), compare(interpreter, ast.Eq(), left, right))
    _mix(interpreter, left, right)
    return constants.compare(op, left, right)


def truth(interpreter: Interpreter, value: Value) -> bool | Unknown:
    """Return whether a value counts as true, asking an object of the file's own class."""
    if isinstance(value, Instance):
        for name in ("__bool__", "__len__"):
            answer = call_special(interpreter, value, name)
            if answer is not MISSING:
                return objects.truth(answer)
        return True
    return objects.truth(value)


def text_of(interpreter: Interpreter, value: Value, *, formats: bool = False) -> Value:
    """Return an object of the file's own class as text, anything else as it is."""
    for name in ("__format__", "__str__", "__repr__") if formats else ("__str__", "__repr__"):
        given = ("",) if name == "__format__" else ()
        text = call_special(interpreter, value, name, *given)
        if text is not MISSING:
            return text
    if isinstance(value, Instance):
        return Unknown(Why.OBJECT_TEXT())
    return value
