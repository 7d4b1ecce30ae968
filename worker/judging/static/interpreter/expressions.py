"""Expressions: what each stands for, as far as the file's text tells."""

from __future__ import annotations

import ast
from functools import partial

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import may_call
from worker.judging.static.interpreter.functions import make_function
from worker.judging.static.interpreter.interpreter import (
    NEXT,
    Done,
    ExpressionHandler,
    Interpreter,
    Raised,
    done_with,
)
from worker.judging.static.interpreter.names import assign, lookup
from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    AbstractList,
    Field,
    Instance,
    SchedulerConfig,
    element,
)
from worker.judging.static.operations import (
    attributes,
    constants,
    containers,
    instances,
    items,
    operators,
    text,
)
from worker.judging.static.operations.iteration import awaited, collect, each
from worker.judging.static.scopes import Scope, Super
from worker.judging.static.values import (
    MAX_LENGTH,
    MISSING,
    Unknown,
    Value,
    is_constant,
    is_symbol,
    weight,
)


def _constant(interpreter: Interpreter, node: ast.Constant, scope: Scope) -> Value:
    return constants.bounded(node.value)


def _name(interpreter: Interpreter, node: ast.Name, scope: Scope) -> Value:
    value = lookup(interpreter, node.id, scope)
    if value is MISSING:
        if node.id.startswith("__"):
            return Unknown(Why.MODULE_NAME(name=node.id))
        raise Raised("NameError", Why.NAME_NOT_DEFINED(name=node.id))
    return value


def _attribute(interpreter: Interpreter, node: ast.Attribute, scope: Scope) -> Value:
    return attributes.read(interpreter, interpreter.evaluate(node.value, scope), node.attr)


def _call(interpreter: Interpreter, node: ast.Call, scope: Scope) -> Value:
    if isinstance(node.func, ast.Name) and node.func.id == "super":
        return _super(interpreter, node, scope)
    function = interpreter.evaluate(node.func, scope)
    return interpreter.call(function, call_arguments(interpreter, node, scope))


def _super(interpreter: Interpreter, node: ast.Call, scope: Scope) -> Value:
    if len(node.args) != 2:
        return instances.super_of(scope)
    after, receiver = (interpreter.evaluate(item, scope) for item in node.args)
    if isinstance(after, AbstractClass):
        return Super(receiver, after)
    return Unknown(Why.SUPER_OUTSIDE_METHOD())


def call_arguments(interpreter: Interpreter, node: ast.Call, scope: Scope) -> Arguments:
    """Evaluate a call's arguments, stars and all."""
    given = Arguments()
    for item in node.args:
        value = interpreter.evaluate(item, scope)
        if not isinstance(item, ast.Starred):
            given.positional.append(value)
            continue
        items = collect(interpreter, value)
        if isinstance(items, Unknown):
            given.open = items
        else:
            given.positional.extend(items)
    for keyword in node.keywords:
        value = interpreter.evaluate(keyword.value, scope)
        if keyword.arg is not None:
            _add_keyword(given, keyword.arg, value)
        elif isinstance(value, (AbstractDict, SchedulerConfig)):
            for key, entry in value.slots.items():
                if key is AbstractDict.open:
                    given.open = _more(given.open, value)
                elif isinstance(key, Field):
                    given.spread = {**(given.spread or {}), key: entry}
                elif isinstance(key, str):
                    _add_keyword(given, key, entry)
        else:
            given.open = Unknown(value.why if isinstance(value, Unknown) else Why.UNPACKED_OBJECT())
    return given


def _add_keyword(given: Arguments, name: str, value: Value) -> None:
    if name in given.keywords:
        raise Raised("TypeError", Why.GIVEN_TWICE(name=name))
    given.keywords[name] = value


def _more(before: Unknown | None, entries: AbstractDict | SchedulerConfig) -> Unknown:
    """Return why there may be more arguments than are known; a pipeline's parts are its own."""
    parts = entries.slots.get(AbstractDict.parts_of)
    of_pipeline = parts is not None and before is None
    return Unknown(Why.PIPELINE_COMPONENTS() if of_pipeline else Why.DICT_ENTRIES())


def _binary(interpreter: Interpreter, node: ast.BinOp, scope: Scope) -> Value:
    # A long sum leans to the left; it is walked, not descended.
    chain = [node]
    while isinstance(chain[-1].left, ast.BinOp):
        chain.append(chain[-1].left)
    value = interpreter.evaluate(chain[-1].left, scope)
    for link in reversed(chain):
        operand = interpreter.evaluate(link.right, scope)
        interpreter.spend(1 + constants.size(value) + constants.size(operand))
        value = operators.binary(interpreter, link.op, value, operand)
    return value


def _unary(interpreter: Interpreter, node: ast.UnaryOp, scope: Scope) -> Value:
    return operators.unary(interpreter, node.op, interpreter.evaluate(node.operand, scope))


def _starred(interpreter: Interpreter, node: ast.Starred, scope: Scope) -> Value:
    return interpreter.evaluate(node.value, scope)


def _logical(interpreter: Interpreter, node: ast.BoolOp, scope: Scope, place: int = 0) -> Value:
    stops_at = isinstance(node.op, ast.Or)
    for number, operand in enumerate(node.values[place:], place):
        value = interpreter.evaluate(operand, scope)
        answer = operators.truth(interpreter, value)
        if answer is stops_at or number == len(node.values) - 1:
            return value
        if isinstance(answer, Unknown):
            # The rest may be evaluated or not, with all that it does.
            rest = partial(_logical, interpreter, node, scope, number + 1)
            return interpreter.branch(
                answer, partial(done_with, rest), partial(Done, "next", value)
            ).value
    return None


def _compare(interpreter: Interpreter, node: ast.Compare, scope: Scope) -> Value:
    return _compare_from(interpreter, node, scope, interpreter.evaluate(node.left, scope), 0)


def _compare_from(
    interpreter: Interpreter, node: ast.Compare, scope: Scope, left: Value, place: int
) -> Value:
    """Return what is left of a chain of comparisons, the left operand of the next one known."""
    right = interpreter.evaluate(node.comparators[place], scope)
    interpreter.spend(constants.size(right))
    value = operators.compare(interpreter, node.ops[place], left, right)
    answer = operators.truth(interpreter, value)
    if answer is False or place == len(node.ops) - 1:
        return value
    rest = partial(_compare_from, interpreter, node, scope, right, place + 1)
    if isinstance(answer, Unknown):  # the rest may be evaluated or not
        interpreter.branch(answer, partial(done_with, rest), lambda: NEXT)
        return Unknown(answer.why)
    return rest()


def _choice(interpreter: Interpreter, node: ast.IfExp, scope: Scope) -> Value:
    answer = operators.truth(interpreter, interpreter.evaluate(node.test, scope))
    if isinstance(answer, Unknown):
        paths = [
            partial(done_with, partial(interpreter.evaluate, branch, scope))
            for branch in (node.body, node.orelse)
        ]
        return interpreter.branch(answer, *paths).value
    return interpreter.evaluate(node.body if answer else node.orelse, scope)


def _joined(interpreter: Interpreter, node: ast.JoinedStr, scope: Scope) -> Value:
    pieces: list[str] = []
    unknown: Unknown | None = None
    for part in node.values:
        piece = _piece(interpreter, part, scope)
        if isinstance(piece, str):
            pieces.append(piece)
        else:
            unknown = Unknown(piece.why if isinstance(piece, Unknown) else Why.TEXT())
    if sum(map(len, pieces)) > MAX_LENGTH:
        return Unknown(Why.LONG_TEXT())
    return unknown or "".join(pieces)


def _piece(interpreter: Interpreter, part: ast.expr, scope: Scope) -> Value:
    """Return one part of an f-string as text."""
    value = interpreter.evaluate(
        part.value if isinstance(part, ast.FormattedValue) else part, scope
    )
    if not isinstance(part, ast.FormattedValue):
        return value
    value = operators.text_of(interpreter, value, formats=part.conversion < 0)
    interpreter.spend(constants.size(value))
    layout = "" if part.format_spec is None else interpreter.evaluate(part.format_spec, scope)
    return text.formatted(value, part.conversion, layout) if isinstance(layout, str) else layout


def _items(
    interpreter: Interpreter, nodes: list[ast.expr], scope: Scope
) -> tuple[Value, ...] | Unknown:
    items: list[Value] = []
    for node in nodes:
        value = interpreter.evaluate(node, scope)
        if isinstance(node, ast.Starred):
            inner = collect(interpreter, value)
            if isinstance(inner, Unknown):
                return inner
            items.extend(inner)
        else:
            items.append(value)
    size = weight(tuple(items))
    return tuple(items) if size <= MAX_LENGTH else Unknown(Why.LONG_LIST())


def _tuple(interpreter: Interpreter, node: ast.Tuple, scope: Scope) -> Value:
    return _items(interpreter, node.elts, scope)


def _list(interpreter: Interpreter, node: ast.List, scope: Scope) -> Value:
    return AbstractList.of(_items(interpreter, node.elts, scope))


def _set(interpreter: Interpreter, node: ast.Set, scope: Scope) -> Value:
    return containers.make_set(_items(interpreter, node.elts, scope))


def _dict(interpreter: Interpreter, node: ast.Dict, scope: Scope) -> Value:
    entries = AbstractDict()
    for key_node, value_node in zip(node.keys, node.values, strict=True):
        value = interpreter.evaluate(value_node, scope)
        if key_node is not None:
            key = interpreter.evaluate(key_node, scope)
            if isinstance(key, Instance):
                may_call(interpreter, [key], Why.UNKNOWN_KEY())
            if is_constant(key) or is_symbol(key):
                entries.slots[key] = value
            else:
                entries.slots[AbstractDict.open] = Unknown(Why.UNKNOWN_ENTRY())
        else:
            items.absorb(entries.slots, value)
    return entries


def _subscript(interpreter: Interpreter, node: ast.Subscript, scope: Scope) -> Value:
    container = interpreter.evaluate(node.value, scope)
    key = interpreter.evaluate(node.slice, scope)
    return items.read_item(interpreter, container, key)


def _slice(interpreter: Interpreter, node: ast.Slice, scope: Scope) -> Value:
    bounds = [
        None if part is None else interpreter.evaluate(part, scope)
        for part in (node.lower, node.upper, node.step)
    ]
    for bound in bounds:
        if not isinstance(bound, (int, type(None))):
            return Unknown(Why.SLICE())
    return slice(*bounds)


def _walrus(interpreter: Interpreter, node: ast.NamedExpr, scope: Scope) -> Value:
    value = interpreter.evaluate(node.value, scope)
    outer = scope
    while outer.is_comprehension and outer.parent is not None:
        outer = outer.parent
    assign(interpreter, node.target, value, outer)
    return value


def _yield(interpreter: Interpreter, node: ast.Yield, scope: Scope) -> Value:
    value = None if node.value is None else interpreter.evaluate(node.value, scope)
    _give(interpreter, value)
    return Unknown(Why.SENT_VALUE())


def _give(interpreter: Interpreter, value: Value) -> None:
    """Hand a value to what runs the generator; a yield in there is another generator's."""
    if not interpreter.yields:
        return
    visit = interpreter.yields.pop()
    try:
        visit(value)
    finally:
        interpreter.yields.append(visit)


def _yield_from(interpreter: Interpreter, node: ast.YieldFrom, scope: Scope) -> Value:
    source = interpreter.evaluate(node.value, scope)
    why = each(interpreter, source, partial(_give, interpreter))
    if why is not None:
        interpreter.branch(
            why, partial(done_with, partial(_give, interpreter, element(why))), lambda: NEXT
        )
    return Unknown(Why.GENERATOR_RESULT())


def _await(interpreter: Interpreter, node: ast.Await, scope: Scope) -> Value:
    return awaited(interpreter, interpreter.evaluate(node.value, scope))


EXPRESSIONS: dict[type[ast.expr], ExpressionHandler] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Call: _call,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _logical,
    ast.Compare: _compare,
    ast.IfExp: _choice,
    ast.JoinedStr: _joined,
    ast.Tuple: _tuple,
    ast.List: _list,
    ast.Set: _set,
    ast.Dict: _dict,
    ast.Subscript: _subscript,
    ast.Slice: _slice,
    ast.Lambda: make_function,
    ast.NamedExpr: _walrus,
    ast.Await: _await,
    ast.Starred: _starred,
    ast.Yield: _yield,
    ast.YieldFrom: _yield_from,
}
