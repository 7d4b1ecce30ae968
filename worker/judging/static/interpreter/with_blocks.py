"""``with``: what is entered, what runs inside, and what is left in the end."""

from __future__ import annotations

import ast

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import taint
from worker.judging.static.interpreter.interpreter import (
    NEXT,
    Done,
    Enough,
    Interpreter,
    Raised,
    StatementHandler,
)
from worker.judging.static.interpreter.names import assign
from worker.judging.static.libraries import contexts
from worker.judging.static.objects import (
    Component,
    ExitStack,
    Helper,
    Instance,
    Lazy,
    Pipeline,
    Scheduler,
)
from worker.judging.static.operations import iteration, operators
from worker.judging.static.operations.instances import call_special
from worker.judging.static.operations.standard.builtins import SUPPRESS
from worker.judging.static.scopes import Context, Partial, Scope
from worker.judging.static.values import MISSING, Lib, Unknown, Value


def _with(interpreter: Interpreter, node: ast.With | ast.AsyncWith, scope: Scope) -> Done:
    return _items(interpreter, node, 0, scope)


def _items(
    interpreter: Interpreter, node: ast.With | ast.AsyncWith, place: int, scope: Scope
) -> Done:
    if place == len(node.items):
        return interpreter.run_block(node.body, scope)
    item = node.items[place]
    value = interpreter.evaluate(item.context_expr, scope)
    done = NEXT  # also where a manager's function never yields

    def inside(entered: Value) -> None:
        nonlocal done
        if item.optional_vars is not None:
            assign(interpreter, item.optional_vars, entered, scope)
        done = _items(interpreter, node, place + 1, scope)

    prefix = "a" if isinstance(node, ast.AsyncWith) else ""
    try:
        if isinstance(value, Lazy):
            _within(interpreter, value, inside)
        elif isinstance(value, Instance):
            done = _within_object(interpreter, value, inside, prefix) or done
        elif isinstance(value, ExitStack):
            inside(value)
            close(interpreter, value)
        elif isinstance(value, Context):
            with contexts.entered(interpreter, [value]):
                inside(value)
        elif isinstance(value, Partial) and value.function == SUPPRESS:
            _within_suppress(value, inside)
        elif isinstance(value, (Pipeline, Component, Helper, Scheduler)):
            raise Raised("TypeError", Why.NOT_A_CONTEXT())
        else:
            inside(value)
    except Enough:  # the block belongs to a generator that is left in it
        taint(interpreter, [value, *interpreter.built], Why.PARTLY_TAKEN())
        raise
    return done


def _within(interpreter: Interpreter, manager: Lazy, inside: iteration.Visit) -> None:
    """Run a manager's function; where it yields, the block runs.

    What follows the yield comes after the block, as it should. Paths that left the block early
    are kept from the function, which would take them for its own.
    """
    depth, waiting = interpreter.branching, len(interpreter.store.pending)
    left = []

    def visit(entered: Value) -> None:
        inside(entered)
        if interpreter.branching == depth:
            left.extend(interpreter.store.pending[waiting:])
            del interpreter.store.pending[waiting:]

    iteration.draw(interpreter, manager, visit)
    interpreter.store.pending.extend(left)


def _within_object(
    interpreter: Interpreter, value: Instance, inside: iteration.Visit, prefix: str
) -> Done | None:
    """Run a block between an object's methods; return how it ended if they silence its end."""
    enter, leave = f"__{prefix}enter__", f"__{prefix}exit__"
    for name in (enter, leave):
        if value.cls.find(name) is MISSING:
            raise Raised("TypeError", Why.HAS_NO_ATTRIBUTE(cls=value.cls.name, name=name))
    entered = call_special(interpreter, value, enter)
    if prefix:
        entered = iteration.awaited(interpreter, entered)

    def end(*reason: Value) -> Value:
        answer = call_special(interpreter, value, leave, *reason)
        return iteration.awaited(interpreter, answer) if prefix else answer

    try:
        inside(entered)
    except Raised as error:
        # Nothing but its class is known of the exception; __exit__ may silence it.
        silenced = end(*(Unknown(error.reason) for _ in range(3)))
        if operators.truth(interpreter, silenced) is not True:
            raise
        return NEXT
    end(None, None, None)
    return None


def _within_suppress(suppress: Partial, inside: iteration.Visit) -> None:
    try:
        inside(None)
    except Raised as error:
        names = {item.last for item in suppress.positional if isinstance(item, Lib)}
        if not error.is_one_of(names):
            raise


def stack_method(
    interpreter: Interpreter, stack: ExitStack, method: str, given: Arguments
) -> Value:
    """Call a method of ``contextlib.ExitStack``."""
    first = given.get("", 0)
    if method in ("close", "__exit__"):
        close(interpreter, stack)
        return None
    if method == "__enter__":
        return stack
    if method == "callback":
        later: Value = Partial(first, tuple(given.positional[1:]), tuple(given.keywords.items()))
        result = first
    elif method in ("enter_context", "push"):
        later = first
        result = _enter(interpreter, first) if method == "enter_context" else first
    else:
        taint(interpreter, [stack], Why.RESULT(function=method))
        return Unknown(Why.RESULT(function=method))
    entered = stack.entered
    if isinstance(entered, tuple):
        interpreter.store.assign(stack, ExitStack.entered, (*entered, later))
    return result


def _enter(interpreter: Interpreter, manager: Value) -> Value:
    if isinstance(manager, Context):
        return contexts.switch(interpreter, manager, "__enter__")
    if isinstance(manager, Lazy):
        items = iteration.take(interpreter, manager, lambda items: True, closes=False)
        return items[0] if isinstance(items, tuple) and items else items
    entered = call_special(interpreter, manager, "__enter__")
    return manager if entered is MISSING else entered


def close(interpreter: Interpreter, stack: ExitStack) -> None:
    """Leave everything that was entered, the last one first."""
    entered = stack.entered
    interpreter.store.assign(stack, ExitStack.entered, ())
    if not isinstance(entered, tuple):
        taint(interpreter, [*interpreter.built], Why.RESULT(function="ExitStack.close"))
        return
    for manager in reversed(entered):
        if isinstance(manager, Context):
            contexts.switch(interpreter, manager, "__exit__")
        elif isinstance(manager, Lazy):
            iteration.draw(interpreter, manager, lambda item: None)
        elif isinstance(manager, Partial):
            interpreter.call(manager, Arguments())
        else:
            call_special(interpreter, manager, "__exit__", None, None, None)


STATEMENTS: dict[type[ast.stmt], StatementHandler] = {
    ast.With: _with,
    ast.AsyncWith: _with,
}
