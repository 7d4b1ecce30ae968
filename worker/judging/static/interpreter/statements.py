"""Statements: a block, path by path."""

from __future__ import annotations

import ast
from functools import partial

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import doubt
from worker.judging.static.interpreter.interpreter import (
    NEXT,
    Done,
    Enough,
    Interpreter,
    Raised,
    StatementHandler,
)
from worker.judging.static.interpreter.names import assign
from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    AbstractList,
    Part,
    element,
)
from worker.judging.static.operations import attributes, constants, containers, operators
from worker.judging.static.scopes import Scope
from worker.judging.static.values import (
    Lib,
    Unknown,
    Value,
)


def _expression(interpreter: Interpreter, node: ast.Expr, scope: Scope) -> Done:
    interpreter.evaluate(node.value, scope)
    return NEXT


def _assign(interpreter: Interpreter, node: ast.Assign, scope: Scope) -> Done:
    value = interpreter.evaluate(node.value, scope)
    for target in node.targets:
        assign(interpreter, target, value, scope)
    return NEXT


def _annotated(interpreter: Interpreter, node: ast.AnnAssign, scope: Scope) -> Done:
    if scope.is_class and isinstance(node.target, ast.Name) and _is_field(node.annotation):
        interpreter.spend(constants.size(scope.annotated))
        if node.target.id not in scope.annotated:
            scope.annotated = (*scope.annotated, node.target.id)
    if node.value is not None:
        assign(interpreter, node.target, interpreter.evaluate(node.value, scope), scope)
    return NEXT


def _is_field(annotation: ast.expr) -> bool:
    """Whether an annotated name is a data class's field."""
    text = ast.dump(annotation)
    return "ClassVar" not in text and "KW_ONLY" not in text


def _augmented(interpreter: Interpreter, node: ast.AugAssign, scope: Scope) -> Done:
    load = ast.copy_location(_as_load(node.target), node)
    present, operand = interpreter.evaluate(load, scope), interpreter.evaluate(node.value, scope)
    if isinstance(present, AbstractList) and isinstance(node.op, ast.Add):
        containers.list_method(interpreter, present, "extend", Arguments([operand]))
    elif isinstance(present, AbstractDict) and isinstance(node.op, ast.BitOr):
        containers.dict_method(interpreter, present, "update", Arguments([operand]))
    else:
        if isinstance(present, Part):  # a tensor changes in place
            attributes.change(interpreter, present, "an operation in place", operand)
        value = operators.binary(interpreter, node.op, present, operand, in_place=True)
        assign(interpreter, node.target, value, scope)
    return NEXT


def _if(interpreter: Interpreter, node: ast.If, scope: Scope) -> Done:
    # An elif chain is walked, not descended, for as long as its tests are known.
    while True:
        answer = operators.truth(interpreter, interpreter.evaluate(node.test, scope))
        if isinstance(answer, Unknown):
            return interpreter.branch(
                answer,
                partial(interpreter.run_block, node.body, scope),
                partial(interpreter.run_block, node.orelse, scope),
            )
        if answer:
            return interpreter.run_block(node.body, scope)
        if len(node.orelse) != 1 or not isinstance(node.orelse[0], ast.If):
            return interpreter.run_block(node.orelse, scope)
        node = node.orelse[0]
        interpreter.spend()


def _try(interpreter: Interpreter, node: ast.Try, scope: Scope) -> Done:
    """Take the body to run through, unless it certainly raises."""
    try:
        done = interpreter.run_block(node.body, scope)
    except Enough as end:
        # A generator is left in here: what follows waits for its end, if it does not end now.
        if end.closes:
            ending = partial(interpreter.run_block, node.finalbody, scope)
            doubt(interpreter, ending, Why.PARTLY_TAKEN())
        raise
    except Raised as error:
        handler = next((item for item in node.handlers if _catches(item, error)), None)
        if handler is None:
            interpreter.run_block(node.finalbody, scope)
            raise
        if handler.name:
            interpreter.store.put(scope.names, handler.name, Unknown(Why.EXCEPTION()))
        try:
            done = interpreter.run_block(handler.body, scope)
        except Raised:
            interpreter.run_block(node.finalbody, scope)
            raise
    else:
        if done.kind == "next":  # what this raises no handler above it catches
            try:
                done = interpreter.run_block(node.orelse, scope)
            except Raised:
                interpreter.run_block(node.finalbody, scope)
                raise
    last = interpreter.run_block(node.finalbody, scope)
    return done if last.kind == "next" else last


def _return(interpreter: Interpreter, node: ast.Return, scope: Scope) -> Done:
    return Done("return", None if node.value is None else interpreter.evaluate(node.value, scope))


def _break(interpreter: Interpreter, node: ast.Break, scope: Scope) -> Done:
    return Done("break")


def _continue(interpreter: Interpreter, node: ast.Continue, scope: Scope) -> Done:
    return Done("continue")


def _raise(interpreter: Interpreter, node: ast.Raise, scope: Scope) -> Done:
    target = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    name = getattr(target, "id", getattr(target, "attr", "Exception"))
    why = Why.FILE_RAISES(exception=str(name), line=node.lineno)
    raise Raised(str(name), why, _bases(interpreter, target, scope))


def _bases(interpreter: Interpreter, target: ast.expr | None, scope: Scope) -> frozenset[str]:
    """Return the names of what an exception of the file's own inherits from."""
    cls = interpreter.evaluate(target, scope) if isinstance(target, ast.Name) else None
    if not isinstance(cls, AbstractClass):
        return frozenset()
    return frozenset(
        base.name if isinstance(base, AbstractClass) else base.last
        for base in cls.lineage
        if isinstance(base, (AbstractClass, Lib))
    )


def _assert(interpreter: Interpreter, node: ast.Assert, scope: Scope) -> Done:
    if operators.truth(interpreter, interpreter.evaluate(node.test, scope)) is False:
        raise Raised("AssertionError", Why.ASSERTION_FAILS(line=node.lineno))
    return NEXT


def _as_load(target: ast.Name | ast.Attribute | ast.Subscript) -> ast.expr:
    if isinstance(target, ast.Name):
        return ast.Name(target.id, ast.Load())
    if isinstance(target, ast.Attribute):
        return ast.Attribute(target.value, target.attr, ast.Load())
    return ast.Subscript(target.value, target.slice, ast.Load())


def _catches(handler: ast.ExceptHandler, error: Raised) -> bool:
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {getattr(item, "id", getattr(item, "attr", "")) for item in types}
    return error.is_one_of(names)


def _match(interpreter: Interpreter, node: ast.Match, scope: Scope) -> Done:
    subject = interpreter.evaluate(node.subject, scope)
    return _match_cases(interpreter, subject, node.cases, scope)


def _match_cases(
    interpreter: Interpreter, subject: Value, cases: list[ast.match_case], scope: Scope
) -> Done:
    for place, case in enumerate(cases):
        answer = _fits(interpreter, case.pattern, subject, scope)
        if answer is True and case.guard is not None:
            answer = operators.truth(interpreter, interpreter.evaluate(case.guard, scope))
        if answer is True:
            return interpreter.run_block(case.body, scope)
        if isinstance(answer, Unknown):
            return interpreter.branch(
                answer,
                partial(interpreter.run_block, case.body, scope),
                partial(_match_cases, interpreter, subject, cases[place + 1 :], scope),
            )
    return NEXT


def _as_answer(interpreter: Interpreter, value: Value) -> bool | Unknown:
    return value if isinstance(value, (bool, Unknown)) else operators.truth(interpreter, value)


def _fits(
    interpreter: Interpreter, pattern: ast.pattern, subject: Value, scope: Scope
) -> bool | Unknown:
    if isinstance(pattern, ast.MatchValue):
        return _as_answer(
            interpreter,
            operators.compare(
                interpreter, ast.Eq(), subject, interpreter.evaluate(pattern.value, scope)
            ),
        )
    if isinstance(pattern, ast.MatchSingleton):
        return constants.compare(ast.Is(), subject, pattern.value)
    if isinstance(pattern, ast.MatchAs):
        answer = (
            True if pattern.pattern is None else _fits(interpreter, pattern.pattern, subject, scope)
        )
        if pattern.name and answer is not False:
            interpreter.store.put(scope.names, pattern.name, subject)
        return answer
    if isinstance(pattern, ast.MatchOr):
        answers = [_fits(interpreter, option, subject, scope) for option in pattern.patterns]
        if True in answers:
            return True
        return next((item for item in answers if isinstance(item, Unknown)), False)
    for inner in ast.walk(pattern):
        name = getattr(inner, "name", None) or getattr(inner, "rest", None)
        if isinstance(name, str):
            interpreter.store.put(scope.names, name, element(Unknown(Why.PATTERN())))
    return Unknown(Why.PATTERN())


STATEMENTS: dict[type[ast.stmt], StatementHandler] = {
    ast.Expr: _expression,
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.If: _if,
    ast.Try: _try,
    ast.Return: _return,
    ast.Break: _break,
    ast.Continue: _continue,
    ast.Raise: _raise,
    ast.Assert: _assert,
    ast.Match: _match,
}
if hasattr(ast, "TryStar"):
    STATEMENTS[ast.TryStar] = _try
