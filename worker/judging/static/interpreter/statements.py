"""Statements: read a whole file, path by path, to its last pipeline call."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.definitions import Definer
from worker.judging.static.interpreter_base import MAX_DEPTH, NEXT, Abandoned, Done, Raised
from worker.judging.static.operations import attributes, containers
from worker.judging.static.operations import constants as pure
from worker.judging.static.values import (
    AbstractDict,
    AbstractList,
    Bound,
    Function,
    Instance,
    Part,
    Scope,
    Unknown,
    Value,
    element,
    truth,
)

MAX_ROUNDS = 1_000  # of a loop whose end is known; a longer one is abandoned
_BREAK = frozenset({"break"})
_CONTINUE = frozenset({"continue"})


class Reader(Definer):
    """Execute statements abstractly."""

    def __init__(self) -> None:
        super().__init__()
        self._statements: dict[type[ast.stmt], Callable[[Any, Scope], Done]] = {
            ast.Expr: self._expression,
            ast.Assign: self._assign,
            ast.AnnAssign: self._annotated,
            ast.AugAssign: self._augmented,
            ast.If: self._if,
            ast.For: self._for,
            ast.AsyncFor: self._for,
            ast.While: self._while,
            ast.With: self._with,
            ast.AsyncWith: self._with,
            ast.Try: self._try,
            ast.FunctionDef: self.define_function,
            ast.AsyncFunctionDef: self.define_function,
            ast.ClassDef: self.define_class,
            ast.Return: self._return,
            ast.Break: lambda node, scope: Done("break"),
            ast.Continue: lambda node, scope: Done("continue"),
            ast.Raise: self._raise,
            ast.Assert: self._assert,
            ast.Import: self.import_module,
            ast.ImportFrom: self.import_from,
            ast.Global: self.redirect,
            ast.Nonlocal: self.redirect,
            ast.Delete: self._delete,
            ast.Match: self.match,
        }
        if hasattr(ast, "TryStar"):
            self._statements[ast.TryStar] = self._try
        if hasattr(ast, "TypeAlias"):
            self._statements[ast.TypeAlias] = self._type_alias

    def run_block(self, body: list[ast.stmt], scope: Scope) -> Done:
        """Execute statements until one of them leaves the block."""
        for node in body:
            done = self._execute(node, scope)
            if done.kind != "next":
                return done
        return NEXT

    def _execute(self, node: ast.stmt, scope: Scope) -> Done:
        self.spend()
        handler = self._statements.get(type(node))
        if handler is None:
            return NEXT
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Abandoned(Why.NESTED_TOO_DEEPLY())
        try:
            return handler(node, scope)
        finally:
            self.depth -= 1

    def _expression(self, node: ast.Expr, scope: Scope) -> Done:
        self.evaluate(node.value, scope)
        return NEXT

    def _assign(self, node: ast.Assign, scope: Scope) -> Done:
        value = self.evaluate(node.value, scope)
        for target in node.targets:
            self.assign(target, value, scope)
        return NEXT

    def _annotated(self, node: ast.AnnAssign, scope: Scope) -> Done:
        if scope.is_class and isinstance(node.target, ast.Name):
            fields = scope.names.get("\0fields", ())
            self.spend(pure.size(fields))
            if isinstance(fields, tuple) and node.target.id not in fields:
                scope.names["\0fields"] = (*fields, node.target.id)
        if node.value is not None:
            self.assign(node.target, self.evaluate(node.value, scope), scope)
        return NEXT

    def _augmented(self, node: ast.AugAssign, scope: Scope) -> Done:
        load = ast.copy_location(_as_load(node.target), node)
        present, operand = self.evaluate(load, scope), self.evaluate(node.value, scope)
        if isinstance(present, AbstractList) and isinstance(node.op, ast.Add):
            containers.list_method(self, present, "extend", Arguments([operand]))
        elif isinstance(present, AbstractDict) and isinstance(node.op, ast.BitOr):
            containers.dict_method(self, present, "update", Arguments([operand]))
        else:
            if isinstance(present, Part):  # a tensor changes in place
                attributes.change(self, present, "an operation in place", operand)
            self.assign(node.target, pure.binary(node.op, present, operand), scope)
        return NEXT

    def _if(self, node: ast.If, scope: Scope) -> Done:
        # An elif chain is walked, not descended, for as long as its tests are known.
        while True:
            answer = truth(self.evaluate(node.test, scope))
            if isinstance(answer, Unknown):
                return self.branch(
                    answer,
                    partial(self.run_block, node.body, scope),
                    partial(self.run_block, node.orelse, scope),
                )
            if answer:
                return self.run_block(node.body, scope)
            if len(node.orelse) != 1 or not isinstance(node.orelse[0], ast.If):
                return self.run_block(node.orelse, scope)
            node = node.orelse[0]
            self.spend()

    def _for(self, node: ast.For | ast.AsyncFor, scope: Scope) -> Done:
        items = pure.iterate(self.evaluate(node.iter, scope))

        def turn(item: Value) -> Done:
            self.assign(node.target, item, scope)
            return self.run_block(node.body, scope)

        if isinstance(items, Unknown) or len(items) > MAX_ROUNDS:
            why = items if isinstance(items, Unknown) else Unknown(Why.LONG_LOOP())
            return self._loop_of_unknown_length(why, lambda: turn(element(why)))
        return self._loop([partial(turn, item) for item in items], node.orelse, scope)

    def _loop(
        self, turns: Sequence[Callable[[], Done]], orelse: list[ast.stmt], scope: Scope
    ) -> Done:
        waiting = len(self.store.pending)
        for turn in turns:
            done = self._turn(turn, waiting)
            if done.kind == "break":
                break
            if done.kind == "return":
                if self.switch("break", waiting, done) is None:
                    return done
                break
        else:
            done = self.run_block(orelse, scope) if orelse else NEXT
            if done.kind != "next":
                return done
        self.settle(_BREAK, waiting)
        return NEXT

    def _turn(self, turn: Callable[[], Done], loop_waiting: int) -> Done:
        waiting = len(self.store.pending)
        try:
            done = turn()
        except Raised:
            # The path that raises is not the one taken if another waits.
            for kind in ("continue", "break", "return"):
                path = self.switch(kind, loop_waiting, None)
                if path is not None:
                    done = Done(kind, path.value)
                    break
            else:
                raise
        if done.kind in ("break", "return"):
            path = self.switch("continue", waiting, done)
            done = Done("continue") if path is not None else done
        self.settle(_CONTINUE, waiting)
        return NEXT if done.kind == "continue" else done

    def _loop_of_unknown_length(self, why: Unknown, turn: Callable[[], Done]) -> Done:
        """Follow a loop that may turn any number of times: until a turn changes nothing more."""
        waiting = len(self.store.pending)
        for _ in range(3):
            mark = self.store.mark()
            self.branch(why, lambda: self._skip_jumps(turn), lambda: NEXT)
            self.settle(_BREAK | _CONTINUE, waiting)
            if self.store.mark() == mark:
                return NEXT
        for slots, key, _ in self.store.journal[mark:]:
            if slots is not self.world:
                self.store.put(slots, key, Unknown(why.why))
        return NEXT

    def _skip_jumps(self, turn: Callable[[], Done]) -> Done:
        done = turn()
        return done if done.kind == "return" else NEXT

    def _while(self, node: ast.While, scope: Scope) -> Done:
        waiting = len(self.store.pending)
        for turns in range(MAX_ROUNDS):
            answer = truth(self.evaluate(node.test, scope))
            if turns > 8 and any(item.kind == "break" for item in self.store.pending[waiting:]):
                answer = Unknown(Why.LOOP_END())
            if isinstance(answer, Unknown):
                done = self._loop_of_unknown_length(answer, lambda: self._while_turn(node, scope))
                break
            if not answer:
                done = self.run_block(node.orelse, scope) if node.orelse else NEXT
                break
            done = self._turn(lambda: self.run_block(node.body, scope), waiting)
            if done.kind == "break":
                done = NEXT
                break
            if done.kind == "return":
                if self.switch("break", waiting, done) is None:
                    return done
                done = NEXT
                break
        else:
            raise Abandoned(Why.TOO_MANY_TURNS())
        if done.kind == "next":
            self.settle(_BREAK, waiting)
        return done

    def _while_turn(self, node: ast.While, scope: Scope) -> Done:
        done = self.run_block(node.body, scope)
        self.evaluate(node.test, scope)
        return done

    def _with(self, node: ast.With | ast.AsyncWith, scope: Scope) -> Done:
        return self._with_items(node.items, node.body, scope)

    def _with_items(self, items: list[ast.withitem], body: list[ast.stmt], scope: Scope) -> Done:
        if not items:
            return self.run_block(body, scope)
        first, rest = items[0], items[1:]
        outcome = [NEXT]

        def inside(value: Value) -> None:
            if first.optional_vars is not None:
                self.assign(first.optional_vars, value, scope)
            outcome[0] = self._with_items(rest, body, scope)

        manager = self._manager_call(first.context_expr, scope)
        if manager is not None:
            function, arguments, receiver = manager
            # The function runs; where it yields, the block does. What follows the yield comes
            # after the block, as it should.
            self.yields.append(inside)
            try:
                self.call_function(function, arguments, receiver)
            finally:
                self.yields.pop()
            return outcome[0]
        value = self.evaluate(first.context_expr, scope)
        if not isinstance(value, Instance):
            inside(value)
            return outcome[0]
        enter = attributes.find(value.cls, "__enter__")
        leave = attributes.find(value.cls, "__exit__")
        if isinstance(enter, Function):
            value_inside = self.call(Bound(value, enter), Arguments())
        else:
            value_inside = Unknown(Why.WITH_VALUE())
        try:
            inside(value_inside)
        finally:
            if isinstance(leave, Function):
                self.call(Bound(value, leave), Arguments([None, None, None]))
        return outcome[0]

    def _manager_call(
        self, node: ast.expr, scope: Scope
    ) -> tuple[Function, Arguments, Value] | None:
        """Return the call of a function decorated with contextmanager, if the expression is one."""
        if not isinstance(node, ast.Call):
            return None
        if not isinstance(node.func, (ast.Name, ast.Attribute)):
            return None
        function = self.evaluate(node.func, scope)
        receiver: Value = None
        if isinstance(function, Bound) and isinstance(function.method, Function):
            receiver, function = function.receiver, function.method
        if not isinstance(function, Function) or function.kind != "manager":
            return None
        arguments = self.arguments(node, scope)
        if receiver is not None:
            arguments = arguments.with_first(receiver)
        return function, arguments, receiver

    def _try(self, node: ast.Try, scope: Scope) -> Done:
        """Take the body to run through, unless it certainly raises."""
        try:
            done = self.run_block(node.body, scope)
            if done.kind == "next":
                done = self.run_block(node.orelse, scope)
        except Raised as error:
            handler = next((item for item in node.handlers if _catches(item, error)), None)
            if handler is None:
                self.run_block(node.finalbody, scope)
                raise
            if handler.name:
                self.store.put(scope.names, handler.name, Unknown(Why.EXCEPTION()))
            try:
                done = self.run_block(handler.body, scope)
            except Raised:
                self.run_block(node.finalbody, scope)
                raise
        last = self.run_block(node.finalbody, scope)
        return done if last.kind == "next" else last

    def _type_alias(self, node: ast.AST, scope: Scope) -> Done:
        self.store.put(scope.names, getattr(node, "name").id, Unknown(Why.TYPE()))  # noqa: B009
        return NEXT

    def _return(self, node: ast.Return, scope: Scope) -> Done:
        return Done("return", None if node.value is None else self.evaluate(node.value, scope))

    def _raise(self, node: ast.Raise, scope: Scope) -> Done:
        target = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        name = getattr(target, "id", getattr(target, "attr", "Exception"))
        raise Raised(str(name), Why.FILE_RAISES(exception=str(name), line=node.lineno))

    def _assert(self, node: ast.Assert, scope: Scope) -> Done:
        if truth(self.evaluate(node.test, scope)) is False:
            raise Raised("AssertionError", Why.ASSERTION_FAILS(line=node.lineno))
        return NEXT

    def _delete(self, node: ast.Delete, scope: Scope) -> Done:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.store.drop(scope.redirected.get(target.id, scope).names, target.id)
            elif isinstance(target, ast.Attribute):
                attributes.delete(self, self.evaluate(target.value, scope), target.attr)
            elif isinstance(target, ast.Subscript):
                container = self.evaluate(target.value, scope)
                attributes.delete_item(self, container, self.evaluate(target.slice, scope))
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
    general = (
        {"BaseException"} if error.exception == "SystemExit" else {"Exception", "BaseException"}
    )
    # LookupError and the like: what a handler's class is the base of.
    return bool(names & ({error.exception} | general))
