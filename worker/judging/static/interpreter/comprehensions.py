"""Comprehensions: loops that make a list, a set or a dictionary."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial

from worker.judging.reasons.codes import Why
from worker.judging.static.interpreter.interpreter import (
    NEXT,
    ExpressionHandler,
    Interpreter,
    done_with,
)
from worker.judging.static.interpreter.names import assign
from worker.judging.static.objects import AbstractDict, AbstractList, Lazy, element
from worker.judging.static.operations import containers, operators
from worker.judging.static.operations.iteration import each
from worker.judging.static.scopes import Names, Scope
from worker.judging.static.values import (
    MISSING,
    Unknown,
    Value,
    is_constant,
)


def _comprehend(
    interpreter: Interpreter,
    node: ast.ListComp | ast.SetComp,
    scope: Scope,
) -> tuple[Value, ...] | Unknown:
    results: list[Value] = []
    failed = _generate(
        interpreter,
        node.generators,
        Scope(Names(), scope, is_comprehension=True),
        lambda inner: results.append(interpreter.evaluate(node.elt, inner)),
    )
    return failed or tuple(results)


def _generator(interpreter: Interpreter, node: ast.GeneratorExp, scope: Scope) -> Value:
    # Only what the outermost loop runs over is evaluated now.
    source = interpreter.evaluate(node.generators[0].iter, scope)

    def produce(visit: Callable[[Value], None]) -> Unknown | None:
        return _generate(
            interpreter,
            node.generators,
            Scope(Names(), scope, is_comprehension=True),
            lambda inner: visit(interpreter.evaluate(node.elt, inner)),
            source,
        )

    return Lazy({}, produce)


def _list_comprehension(interpreter: Interpreter, node: ast.ListComp, scope: Scope) -> Value:
    return AbstractList.of(_comprehend(interpreter, node, scope))


def _set_comprehension(interpreter: Interpreter, node: ast.SetComp, scope: Scope) -> Value:
    return containers.make_set(_comprehend(interpreter, node, scope))


def _dict_comprehension(interpreter: Interpreter, node: ast.DictComp, scope: Scope) -> Value:
    entries = AbstractDict()

    def add(inner: Scope) -> None:
        key, value = interpreter.evaluate(node.key, inner), interpreter.evaluate(node.value, inner)
        if is_constant(key):
            entries.slots[key] = value
        else:
            entries.slots[AbstractDict.open] = Unknown(Why.UNKNOWN_ENTRY())

    failed = _generate(
        interpreter, node.generators, Scope(Names(), scope, is_comprehension=True), add
    )
    return AbstractDict({AbstractDict.open: failed}) if failed else entries


def _generate(
    interpreter: Interpreter,
    generators: list[ast.comprehension],
    scope: Scope,
    emit: Callable[[Scope], None],
    source: Value = MISSING,
) -> Unknown | None:
    """Run a comprehension's loops; return why its length is not known, if it is not."""
    if not generators:
        emit(scope)
        return None
    first, rest = generators[0], generators[1:]
    if source is MISSING:
        source = interpreter.evaluate(first.iter, scope)
    failed: Unknown | None = None

    def turn(item: Value, doubtful: Unknown | None = None) -> None:
        nonlocal failed
        interpreter.spend()
        assign(interpreter, first.target, item, scope)
        answers = [
            operators.truth(interpreter, interpreter.evaluate(test, scope)) for test in first.ifs
        ]
        if any(answer is False for answer in answers):
            return
        doubts = [answer for answer in (doubtful, *answers) if isinstance(answer, Unknown)]
        if not doubts:
            failed = _generate(interpreter, rest, scope, emit) or failed
            return
        # It may come to the element or not: the element may well be the pipeline's call.
        failed = doubts[0]
        interpreter.branch(
            failed,
            partial(done_with, partial(_generate, interpreter, rest, scope, emit)),
            lambda: NEXT,
        )

    why = each(interpreter, source, turn)
    if why is not None:
        for _ in range(2):
            turn(element(why), why)
    return failed or why


EXPRESSIONS: dict[type[ast.expr], ExpressionHandler] = {
    ast.ListComp: _list_comprehension,
    ast.SetComp: _set_comprehension,
    ast.GeneratorExp: _generator,
    ast.DictComp: _dict_comprehension,
}
