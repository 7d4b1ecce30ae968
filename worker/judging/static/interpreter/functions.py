"""Functions that the file defines: how they are made, decorated and run."""

from __future__ import annotations

import ast
from collections.abc import Callable

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments, bind, is_generator, refused
from worker.judging.static.interpreter.interpreter import (
    NEXT,
    Abandoned,
    Done,
    Interpreter,
    Raised,
    StatementHandler,
)
from worker.judging.static.interpreter.names import declare
from worker.judging.static.libraries import contexts
from worker.judging.static.objects import Lazy
from worker.judging.static.scopes import Function, Names, Scope
from worker.judging.static.undo_log import JUMPS
from worker.judging.static.values import MISSING, Lib, Value

MAX_CALLS = 30  # calls within calls


def make_function(
    interpreter: Interpreter,
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
    scope: Scope,
) -> Function:
    """Return a function, with its defaults evaluated now."""
    return Function(
        node,
        scope,
        tuple(interpreter.evaluate(default, scope) for default in node.args.defaults),
        tuple(
            MISSING if default is None else interpreter.evaluate(default, scope)
            for default in node.args.kw_defaults
        ),
    )


def _define(
    interpreter: Interpreter, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope
) -> Done:
    value: Value = make_function(interpreter, node, scope)
    for decorator in reversed(node.decorator_list):
        value = _decorated(interpreter, interpreter.evaluate(decorator, scope), value)
    interpreter.store.put(scope.redirected.get(node.name, scope).names, node.name, value)
    return NEXT


def _decorated(interpreter: Interpreter, decorator: Value, value: Value) -> Value:
    if isinstance(decorator, Lib) and decorator.last in ("profile", "wraps"):
        return value
    return interpreter.call(decorator, Arguments([value]))


def call_function(
    interpreter: Interpreter, function: Function, arguments: Arguments, receiver: Value = None
) -> Value:
    """Run a function of the file on these arguments and return what it returns."""
    interpreter.entered.add(id(function.node))
    if interpreter.calling >= MAX_CALLS:
        raise Abandoned(Why.TOO_MUCH_RECURSION(function=function.name))
    reason = refused(function, arguments)
    if reason is not None:
        raise Raised("TypeError", reason)
    names = Names(bind(function, arguments))
    scope = Scope(names, function.scope, function=function, receiver=receiver)
    interpreter.calling += 1
    try:
        with contexts.entered(interpreter, function.contexts):
            if isinstance(function.node, ast.Lambda):
                return interpreter.evaluate(function.node.body, scope)
            if isinstance(function.node, ast.AsyncFunctionDef) or is_generator(function.node):
                return _later(interpreter, function, scope)
            return _run_body(interpreter, function.node.body, scope)
    finally:
        interpreter.calling -= 1


def _run_body(interpreter: Interpreter, body: list[ast.stmt], scope: Scope) -> Value:
    declare(interpreter, body, scope)
    waiting = len(interpreter.store.pending)
    try:
        done = interpreter.run_block(body, scope)
        value = done.value if done.kind == "return" else None
    except Raised:
        other = interpreter.switch("return", waiting, None)
        if other is None:
            raise
        value = other.value
    return interpreter.settle(JUMPS, waiting, value)


def _later(interpreter: Interpreter, function: Function, scope: Scope) -> Lazy:
    """Return a generator, or a coroutine, whose only item is what it returns."""
    body = function.node.body
    assert isinstance(body, list)  # a lambda is neither

    def produce(visit: Callable[[Value], None]) -> None:
        names = Names(scope.names)
        inner = Scope(names, scope.parent, function=function, receiver=scope.receiver)
        if interpreter.calling >= MAX_CALLS:
            raise Abandoned(Why.TOO_MUCH_RECURSION(function=function.name))
        interpreter.calling += 1
        interpreter.yields.append(visit)
        try:
            with contexts.entered(interpreter, function.contexts):
                result = _run_body(interpreter, body, inner)
        finally:
            interpreter.yields.pop()
            interpreter.calling -= 1
        if not is_generator(function.node):
            visit(result)

    return Lazy({}, produce)


STATEMENTS: dict[type[ast.stmt], StatementHandler] = {
    ast.FunctionDef: _define,
    ast.AsyncFunctionDef: _define,
}
