"""Operators and containers on known values, never larger than a small bound."""

from __future__ import annotations

import ast
import math
import operator
import os.path
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from worker.judging.reasons.codes import Why
from worker.judging.static.objects import (
    AbstractDict,
    AbstractList,
    Instance,
    Part,
    SchedulerConfig,
    element,
    truth,
)
from worker.judging.static.values import (
    CONSTANTS,
    MAX_LENGTH,
    SLOT,
    Lib,
    Unknown,
    Value,
    is_constant,
    is_symbol,
    weight,
)

Raw: TypeAlias = Any  # what Python itself has for a constant; every operation takes some of them

MAX_BITS = 1_000  # of a whole number: those that are kept fit a float

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

BUILTINS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "bool": bool,
    "divmod": divmod,
    "float": float,
    "int": int,
    "len": len,
    "repr": repr,
    "round": round,
    "str": str,
    "sum": sum,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.gcd": math.gcd,
    "math.isclose": math.isclose,
    "math.log": math.log,
    "math.log2": math.log2,
    "math.pow": math.pow,
    "math.prod": math.prod,
    "math.sqrt": math.sqrt,
    "math.trunc": math.trunc,
    "os.path.join": os.path.join,
    "pathlib.Path": os.path.join,
    "pathlib.PurePath": os.path.join,
    "os.path.basename": os.path.basename,
}


def known(function: Callable[..., Any], *arguments: Raw, **keywords: Raw) -> Value:
    """Return a pure function's result, Unknown if it raises or is too large to keep."""
    try:
        result = function(*arguments, **keywords)
    except Exception as error:  # noqa: BLE001  # whatever the judged expression would raise
        return Unknown(Why.FAILING_EXPRESSION(exception=type(error).__name__))
    return bounded(result)


def bounded(result: Raw) -> Value:
    """Turn a Python result into a value, if it is small."""
    if isinstance(result, int) and result.bit_length() > MAX_BITS:
        return Unknown(Why.LARGE_NUMBER())
    if isinstance(result, (str, bytes, tuple, list)) and weight(result) > MAX_LENGTH:
        return Unknown(Why.LONG_TEXT_OR_LIST())
    if isinstance(result, list):
        return AbstractList.of(tuple(result))
    return result


def size(value: Value) -> float:
    """Return what making or searching a value costs, in steps of the budget."""
    if isinstance(value, (str, bytes)):
        return len(value) / 1000
    if isinstance(value, AbstractDict):
        return SLOT * len(value.slots)
    items = plain(value)
    if not isinstance(items, tuple):
        return 0
    return SLOT * len(items) + sum(size(item) for item in items if isinstance(item, tuple))


def binary(op: ast.operator, left: Value, right: Value) -> Value:
    """Return ``left op right``."""
    for operand in (left, right):
        if isinstance(operand, Unknown):
            return Unknown(operand.why)
    if (
        isinstance(left, AbstractDict)
        and isinstance(right, AbstractDict)
        and isinstance(op, ast.BitOr)
    ):
        return AbstractDict(left.slots | right.slots)
    lists = isinstance(left, AbstractList) or isinstance(right, AbstractList)
    a, b = plain(left), plain(right)
    if isinstance(op, ast.Div) and isinstance(a, str) and isinstance(b, str):
        return os.path.join(a, b)  # pathlib paths are kept as text
    if isinstance(op, ast.Mod) and isinstance(a, (str, bytes)):
        return _percent(a, b)
    if _is_refused(op, a, b):
        return Unknown(Why.FAILING_EXPRESSION(exception="TypeError"))
    if not _operands_fit(op, a, b):
        return Unknown(Why.UNKNOWN_OPERATION())
    result = known(_BINARY[type(op)], a, b)
    return AbstractList.of(result) if lists and isinstance(result, tuple) else result


def _is_refused(op: ast.operator, a: Raw, b: Raw) -> bool:
    """Whether two operands of different kinds certainly have no such operator."""
    kinds = [
        "number" if isinstance(item, (int, float)) else "text" if isinstance(item, str) else item
        for item in (a, b)
    ]
    if None in kinds:
        return all(kind in (None, "number", "text") for kind in kinds)
    return set(kinds) == {"number", "text"} and not isinstance(op, (ast.Mult, ast.Mod))


def _operands_fit(op: ast.operator, a: Raw, b: Raw) -> bool:
    sequences = [item for item in (a, b) if isinstance(item, (str, bytes, tuple))]
    numbers = [item for item in (a, b) if isinstance(item, (int, float, complex))]
    if type(op) not in _BINARY or len(sequences) + len(numbers) != 2:
        return False
    if len(sequences) == 2:
        return isinstance(op, ast.Add) and len(a) + len(b) <= MAX_LENGTH
    if len(sequences) == 1:
        number = numbers[0]
        small = isinstance(number, int) and number * max(len(sequences[0]), 1) <= MAX_LENGTH
        return isinstance(op, ast.Mult) and small
    if isinstance(op, ast.Pow):
        return all(abs(number) <= 4096 for number in numbers) and abs(b) <= 64
    if isinstance(op, (ast.LShift, ast.RShift)):
        return isinstance(b, int) and 0 <= b <= 64
    return True


def _percent(template: str | bytes, arguments: Raw) -> Value:
    widths = re.findall(
        r"\d+|\*", template if isinstance(template, str) else template.decode("latin-1")
    )
    if any(width == "*" or len(width) > 3 for width in widths) or not is_constant(arguments):
        return Unknown(Why.UNKNOWN_FORMATTED_TEXT())
    return known(operator.mod, template, arguments)


def plain(value: Value) -> Raw:
    """Return a value as Python has it: a list's items as a tuple."""
    return value.items if isinstance(value, AbstractList) else value


def unary(op: ast.unaryop, value: Value) -> Value:
    """Return ``op value``."""
    if isinstance(op, ast.Not):
        answer = truth(value)
        return Unknown(answer.why) if isinstance(answer, Unknown) else not answer
    if isinstance(value, (int, float, complex)):
        functions: dict[type[ast.unaryop], Callable[[Any], Any]] = {
            ast.USub: operator.neg,
            ast.UAdd: operator.pos,
            ast.Invert: operator.invert,
        }
        return known(functions[type(op)], value)
    return Unknown(value.why if isinstance(value, Unknown) else Why.OBJECT_OPERATION())


def compare(op: ast.cmpop, left: Value, right: Value) -> bool | Unknown:
    """Return ``left op right``."""
    if isinstance(op, (ast.IsNot, ast.NotEq, ast.NotIn)):
        opposite = {ast.IsNot: ast.Is(), ast.NotEq: ast.Eq(), ast.NotIn: ast.In()}[type(op)]
        answer = compare(opposite, left, right)
        return answer if isinstance(answer, Unknown) else not answer
    if isinstance(op, ast.In):
        return _contains(right, left)
    for operand in (left, right):
        if isinstance(operand, Unknown):
            return Unknown(operand.why)
    if isinstance(op, (ast.Is, ast.Eq)):
        return equal(left, right)
    if isinstance(left, CONSTANTS) and isinstance(right, CONSTANTS):
        result = known(_COMPARE[type(op)], left, right)
        return result if isinstance(result, (bool, Unknown)) else Unknown(Why.COMPARISON())
    return Unknown(Why.OBJECT_COMPARISON())


def equal(left: Value, right: Value) -> bool | Unknown:
    """Return whether two known values are equal."""
    if isinstance(left, (AbstractList, tuple)) and isinstance(right, (AbstractList, tuple)):
        a, b = plain(left), plain(right)
        if is_constant(a) and is_constant(b) and type(left) is type(right):
            return bool(a == b)
        return Unknown(Why.LIST_COMPARISON())
    if isinstance(left, CONSTANTS) and isinstance(right, CONSTANTS):
        return bool(left == right)
    for operand in (left, right):
        if isinstance(operand, Lib) and not is_symbol(operand):
            return Unknown(Why.VALUE_SET_ELSEWHERE(name=operand.path))
    if isinstance(left, Lib) and isinstance(right, Lib):
        return left == right
    if left is right:
        return True
    if left is None or right is None:
        return False
    members = [isinstance(side, Instance) and side.cls.is_enum for side in (left, right)]
    if all(members):
        return False  # members of an enumeration are equal only to themselves
    return Unknown(Why.OBJECT_COMPARISON())


def _contains(container: Value, item: Value) -> bool | Unknown:
    if isinstance(item, Unknown):
        return Unknown(item.why)
    if isinstance(container, str) and isinstance(item, str):
        return item in container
    if isinstance(container, (AbstractDict, SchedulerConfig)):
        if isinstance(item, CONSTANTS) and item in container.slots:
            return True
        return False if container.is_closed else Unknown(Why.DICT_ENTRIES())
    items = plain(container)
    if not isinstance(items, tuple):
        return Unknown(Why.MEMBERSHIP())
    answers = [compare(ast.Eq(), entry, item) for entry in items]
    if any(answer is True for answer in answers):
        return True
    return next((answer for answer in answers if isinstance(answer, Unknown)), False)


def iterate(value: Value) -> tuple[Value, ...] | Unknown:
    """Return what a loop over a value would see."""
    if isinstance(value, Unknown):
        return value
    if isinstance(value, AbstractList):
        return value.items
    if isinstance(value, AbstractDict):
        return tuple(value.slots) if value.is_closed else unknown_entry(value)
    if isinstance(value, tuple):
        return value
    if isinstance(value, str):
        return tuple(value)
    return Unknown(Why.LOOP_OVER_OBJECT())


def unknown_entry(entries: AbstractDict | SchedulerConfig) -> Unknown:
    """Return what may be any entry of a dictionary."""
    if isinstance(entries.open, Part):
        return entries.open.inner()
    return Unknown(Why.DICT_ENTRIES())


def index(container: Value, key: Value) -> Value:
    """Return ``container[key]``."""
    for operand in (container, key):
        if isinstance(operand, Unknown):
            return element(operand)
    if isinstance(container, (AbstractDict, SchedulerConfig)):
        if isinstance(key, (*CONSTANTS, tuple)) and is_constant(key) and key in container.slots:
            return container.slots[key]
        return unknown_entry(container)
    items = plain(container)
    if isinstance(items, Unknown):
        return element(items)
    if isinstance(items, (tuple, str, bytes)) and isinstance(key, (int, slice)):
        result = known(operator.getitem, items, key)
        keep = isinstance(container, AbstractList) and isinstance(key, slice)
        return AbstractList.of(result) if keep and isinstance(result, tuple) else result
    return Unknown(Why.UNKNOWN_ELEMENT())
