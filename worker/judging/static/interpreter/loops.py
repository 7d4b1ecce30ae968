"""Loops: turn by turn where their length is known, else until a turn changes nothing more."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import partial

from worker.judging.reasons.codes import Why
from worker.judging.static.interpreter.interpreter import (
    NEXT,
    Abandoned,
    Done,
    Interpreter,
    Raised,
    StatementHandler,
)
from worker.judging.static.interpreter.names import assign
from worker.judging.static.objects import Instance, Lazy, element
from worker.judging.static.operations import operators
from worker.judging.static.operations.iteration import each, peek
from worker.judging.static.scopes import Scope
from worker.judging.static.undo_log import Ending
from worker.judging.static.values import Unknown, Value

MAX_ROUNDS = 1_000  # of a loop whose end is known; a longer one is abandoned
_BREAK: frozenset[Ending] = frozenset({"break"})
_CONTINUE: frozenset[Ending] = frozenset({"continue"})


def _for(interpreter: Interpreter, node: ast.For | ast.AsyncFor, scope: Scope) -> Done:
    source = interpreter.evaluate(node.iter, scope)

    def turn(item: Value) -> Done:
        assign(interpreter, node.target, item, scope)
        return interpreter.run_block(node.body, scope)

    if isinstance(source, (Lazy, Instance)) and not _may_leave(node.body):
        return _stream(interpreter, source, turn, node.orelse, scope)
    items = peek(interpreter, source)
    if isinstance(items, Unknown) or len(items) > MAX_ROUNDS:
        why = items if isinstance(items, Unknown) else Unknown(Why.LONG_LOOP())
        return _loop_of_unknown_length(interpreter, why, lambda: turn(element(why)))
    return _loop(interpreter, [partial(turn, item) for item in items], node.orelse, scope)


def _may_leave(body: list[ast.stmt]) -> bool:
    """Whether a loop's body may end the loop before its end."""
    waiting: list[ast.AST] = [*body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Break, ast.Return)):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)):
            waiting.extend(ast.iter_child_nodes(node))
    return False


def _stream(
    interpreter: Interpreter,
    source: Value,
    turn: Callable[[Value], Done],
    orelse: list[ast.stmt],
    scope: Scope,
) -> Done:
    """Follow a loop over an iterator: what gives the items and what takes them run by turns."""

    def visit(item: Value) -> None:
        _turn(interpreter, partial(turn, item), len(interpreter.store.pending))

    why = each(interpreter, source, visit)
    if why is not None:
        _loop_of_unknown_length(interpreter, why, lambda: turn(element(why)))
    return interpreter.run_block(orelse, scope)


def _loop(
    interpreter: Interpreter,
    turns: Sequence[Callable[[], Done]],
    orelse: list[ast.stmt],
    scope: Scope,
) -> Done:
    waiting = len(interpreter.store.pending)
    for turn in turns:
        done = _turn(interpreter, turn, waiting)
        if done.kind == "break":
            break
        if done.kind == "return":
            if interpreter.switch("break", waiting, done) is None:
                return done
            break
    else:
        done = interpreter.run_block(orelse, scope) if orelse else NEXT
        if done.kind != "next":
            return done
    interpreter.settle(_BREAK, waiting)
    return NEXT


def _turn(interpreter: Interpreter, turn: Callable[[], Done], loop_waiting: int) -> Done:
    waiting = len(interpreter.store.pending)
    try:
        done = turn()
    except Raised:
        # The path that raises is not the one taken if another waits.
        kinds: tuple[Ending, ...] = ("continue", "break", "return")
        for kind in kinds:
            path = interpreter.switch(kind, loop_waiting, None)
            if path is not None:
                done = Done(kind, path.value)
                break
        else:
            raise
    if done.kind in ("break", "return"):
        path = interpreter.switch("continue", waiting, done)
        done = Done("continue") if path is not None else done
    interpreter.settle(_CONTINUE, waiting)
    return NEXT if done.kind == "continue" else done


def _loop_of_unknown_length(
    interpreter: Interpreter, why: Unknown, turn: Callable[[], Done]
) -> Done:
    """Follow a loop that may turn any number of times: until a turn changes nothing more."""
    waiting = len(interpreter.store.pending)
    for _ in range(3):
        mark = interpreter.store.mark()
        interpreter.branch(why, partial(_skip_jumps, turn), lambda: NEXT)
        interpreter.settle(_BREAK | _CONTINUE, waiting)
        if interpreter.store.mark() == mark:
            return NEXT
    for slots, key, _ in interpreter.store.log[mark:]:
        if not interpreter.holds_result(slots):
            interpreter.store.put(slots, key, Unknown(why.why))
    return NEXT


def _skip_jumps(turn: Callable[[], Done]) -> Done:
    done = turn()
    return done if done.kind == "return" else NEXT


def _while(interpreter: Interpreter, node: ast.While, scope: Scope) -> Done:
    waiting = len(interpreter.store.pending)
    for turns in range(MAX_ROUNDS):
        answer = operators.truth(interpreter, interpreter.evaluate(node.test, scope))
        if turns > 8 and any(item.kind == "break" for item in interpreter.store.pending[waiting:]):
            answer = Unknown(Why.LOOP_END())
        if isinstance(answer, Unknown):
            done = _loop_of_unknown_length(
                interpreter, answer, lambda: _while_turn(interpreter, node, scope)
            )
            break
        if not answer:
            done = interpreter.run_block(node.orelse, scope) if node.orelse else NEXT
            break
        done = _turn(interpreter, lambda: interpreter.run_block(node.body, scope), waiting)
        if done.kind == "break":
            done = NEXT
            break
        if done.kind == "return":
            if interpreter.switch("break", waiting, done) is None:
                return done
            done = NEXT
            break
    else:
        raise Abandoned(Why.TOO_MANY_TURNS())
    if done.kind == "next":
        interpreter.settle(_BREAK, waiting)
    return done


def _while_turn(interpreter: Interpreter, node: ast.While, scope: Scope) -> Done:
    done = interpreter.run_block(node.body, scope)
    interpreter.evaluate(node.test, scope)
    return done


STATEMENTS: dict[type[ast.stmt], StatementHandler] = {
    ast.For: _for,
    ast.AsyncFor: _for,
    ast.While: _while,
}
