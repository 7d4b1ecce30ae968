"""The interpreter: one program's state, its paths, and the budget for following them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from worker.judging.reasons.codes import Reason, Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.joining import join
from worker.judging.static.objects import Call, Pipeline, Slots
from worker.judging.static.operations import constants
from worker.judging.static.scopes import STARS, Names, Scope
from worker.judging.static.undo_log import Ending, Pending, Store
from worker.judging.static.values import (
    SLOT,
    Unknown,
    Value,
)

MAX_STEPS = 150_000
MAX_DEPTH = 150
LAST_CALL = "call"
# Expressions that make nothing new, however large what they stand for is.
_FREE = (ast.Name, ast.Attribute, ast.Constant)


# What catches everything: an exception, and what ends the program.
_CATCH_ALL = (frozenset({"Exception", "BaseException"}), frozenset({"BaseException"}))
# The bases of the exceptions that are raised here.
_BASES_OF = {
    "IndexError": {"LookupError"},
    "KeyError": {"LookupError"},
    "UnboundLocalError": {"NameError"},
    "ModuleNotFoundError": {"ImportError"},
    "NotImplementedError": {"RuntimeError"},
    "FileNotFoundError": {"OSError", "IOError", "EnvironmentError"},
    "ZeroDivisionError": {"ArithmeticError"},
    "RecursionError": {"RuntimeError"},
    "OverflowError": {"ArithmeticError"},
    "JSONDecodeError": {"ValueError"},
    "TOMLDecodeError": {"ValueError"},
    "ParserError": {"MarkedYAMLError", "YAMLError"},
    "ScannerError": {"MarkedYAMLError", "YAMLError"},
    "ConstructorError": {"MarkedYAMLError", "YAMLError"},
    "FrozenInstanceError": {"AttributeError"},
}


class Abandoned(Exception):  # noqa: N818  # not an error of anyone's
    """The file asks for more work than is worth spending on it; nothing about it is known."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Raised(Exception):  # noqa: N818  # an event in the program that is read
    """The program certainly raises, or leaves, here."""

    def __init__(self, exception: str, reason: Reason, bases: frozenset[str] = frozenset()) -> None:
        super().__init__(exception, reason)
        self.exception = exception  # the exception class's name
        self.bases = bases  # those of a class of the file
        self.reason = reason

    def is_one_of(self, names: set[str]) -> bool:
        """Whether a handler for classes of these names catches it."""
        own = {self.exception, *self.bases}
        inherited = own.union(*(_BASES_OF.get(name, ()) for name in own))
        if not names.isdisjoint(inherited):
            return True
        return bool(names & _CATCH_ALL["SystemExit" in inherited])


class Enough(Exception):  # noqa: N818  # no error: how a consumer leaves an iterator
    """What asks an iterator for its items wants no more of them.

    Raised only where no branch on something unknown was entered since the iterator began.
    """

    def __init__(self, *, closes: bool) -> None:
        super().__init__()
        self.closes = closes  # whether the iterator ends with it


@dataclass(frozen=True)
class Done:
    """How a block or expression ended: next, return, break or continue; and its value."""

    kind: Ending = "next"
    value: Value = None


NEXT = Done()


def done_with(evaluate: Callable[[], Value]) -> Done:
    """Evaluate an expression as a path of its own."""
    return Done(value=evaluate())


ExpressionHandler: TypeAlias = "Callable[[Interpreter, Any, Scope], Value]"
StatementHandler: TypeAlias = "Callable[[Interpreter, Any, Scope], Done]"
CallHandler: TypeAlias = "Callable[[Interpreter, Any, Arguments], Value]"


@dataclass(frozen=True)
class Handlers:
    """What is done for each kind of expression, of statement, and of value that is called.

    Each table is given by the module of its name in this folder; a kind that a table lacks is an
    unknown value, a statement without effect, or a call by ``call_other``.
    """

    expressions: Mapping[type[ast.expr], ExpressionHandler]
    statements: Mapping[type[ast.stmt], StatementHandler]
    calls: Mapping[type, CallHandler]
    call_other: CallHandler


class Interpreter:
    """The state of one program that is read: its values, its paths, the budget, the findings.

    The handlers take it as their first argument, and come back to it for what stands inside of
    what they handle: ``evaluate``, ``run_block`` and ``call``.
    """

    def __init__(self, handlers: Handlers) -> None:
        self._expressions = handlers.expressions
        self._statements = handlers.statements
        self._calls = handlers.calls
        self._call_other = handlers.call_other
        self.store = Store(self.spend)
        self.module = Scope()
        # Attributes that the file sets on modules and library classes.
        self.overridden = Names()
        # What holds for every pipeline: contexts that are entered, switches of torch.
        self.ambient: Slots = {}
        # The files that were written, by their names; None stands for any.
        self.written: Slots = {}
        self.built: list[Pipeline] = []
        # What a yield does in the running generator: collect, or run a with block's body.
        self.yields: list[Callable[[Value], None]] = []
        # The names that each function binds, by its node's id.
        self.locals: dict[int, frozenset[str]] = {}
        # The ids of function nodes that something unknown may be calling.
        self.doubted: set[int] = set()
        # The global and nonlocal statements of each function's body, by its id.
        self.declarations: dict[int, list[ast.Global | ast.Nonlocal]] = {}
        # How many branches on something unknown are entered.
        self.branching = 0
        # The ids of function nodes that some path used.
        self.entered: set[int] = set()
        # In order, each once.
        self.notes: dict[Reason, None] = {}
        # How many functions of the file are running within each other.
        self.calling = 0
        self._result = Names()
        self.module.names[STARS] = ()
        self._steps = 0.0
        self._depth = 0

    @property
    def last_call(self) -> Value:
        """The latest pipeline call: a Call, Unknown where paths differ, None if there is none."""
        return self._result.get(LAST_CALL)

    def record_call(self, call: Call) -> None:
        """Take a pipeline call as the latest."""
        self.store.put(self._result, LAST_CALL, call)

    def holds_result(self, slots: Slots) -> bool:
        """Whether these slots are where the latest pipeline call stands."""
        return slots is self._result

    def evaluate(self, node: ast.expr, scope: Scope) -> Value:
        """Return what an expression stands for.

        Raises:
            Abandoned: the file asks for too much work, or is nested too deeply.
            Raised: the expression certainly raises.
        """
        self.spend()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Abandoned(Why.NESTED_TOO_DEEPLY())
        try:
            handler = self._expressions.get(type(node))
            if handler is None:
                return Unknown(Why.UNUSUAL_EXPRESSION())
            value = handler(self, node, scope)
            if type(node) not in _FREE:
                if isinstance(value, Unknown) and value.why.code is Why.FAILING_EXPRESSION:
                    raise Raised(str(dict(value.why.arguments)["exception"]), value.why)
                self.spend(constants.size(value))
            return value
        finally:
            self._depth -= 1

    def run_block(self, body: list[ast.stmt], scope: Scope) -> Done:
        """Execute statements until one of them leaves the block.

        Raises:
            Abandoned: the file asks for too much work, or is nested too deeply.
            Raised: a statement certainly raises.
        """
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
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Abandoned(Why.NESTED_TOO_DEEPLY())
        try:
            return handler(self, node, scope)
        finally:
            self._depth -= 1

    def call(self, function: Value, arguments: Arguments) -> Value:
        """Return what a call returns, its effects done.

        Raises:
            Abandoned: the file asks for too much work, or is nested too deeply.
            Raised: the call certainly raises.
        """
        given = len(arguments.positional) + len(arguments.keywords)
        self.spend(2 + SLOT * given + sum(map(constants.size, arguments.positional)))
        handler = self._calls.get(type(function), self._call_other)
        return handler(self, function, arguments)

    def spend(self, steps: float = 1) -> None:
        """Count work.

        Raises:
            Abandoned: the budget is used up.
        """
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise Abandoned(Why.TOO_MUCH_WORK())

    def note(self, remark: Reason) -> None:
        if len(self.notes) < 20:
            self.notes[remark] = None

    def branch(self, test: Unknown, first: Callable[[], Done], second: Callable[[], Done]) -> Done:
        """Follow two paths of which one is taken, and join what they leave behind.

        A path that raises is taken as not chosen: a file is judged by what it does when it runs
        through. A path that leaves the block early waits in the store for the end of its loop or
        function, and the other goes on.
        """
        # Of tests within tests the innermost says most.
        told = test.why if test.why.conditional else Why.DEPENDS_ON(test.why)
        why = Unknown(told, test.key)
        self.branching += 1
        try:
            return self._both(why, first, second)
        finally:
            self.branching -= 1

    def _both(self, why: Unknown, first: Callable[[], Done], second: Callable[[], Done]) -> Done:
        store, mark = self.store, self.store.mark()
        waiting = len(store.pending)
        try:
            left: Done | None = first()
        except Raised:
            left = None
        delta = store.rollback(mark, waiting)
        waiting = len(store.pending)
        try:
            right = second()
        except Raised:
            if left is None:
                raise
            store.rollback(mark, waiting)
            store.apply(delta)
            return left
        if left is None:
            return right
        if left.kind == right.kind:
            store.merge(mark, delta, why)
            return Done(left.kind, join(left.value, right.value, why, self.spend))
        if left.kind != "next":
            store.pending.append(Pending(left.kind, mark, delta, left.value, why))
            return right
        other = store.rollback(mark, waiting)
        store.apply(delta)
        store.pending.append(Pending(right.kind, mark, other, right.value, why))
        return left

    def forget_since(self, mark: int, why: Reason) -> None:
        """Make everything unknown that was changed since a mark."""
        for slots, key, _ in self.store.log[mark:]:
            self.store.put(slots, key, Unknown(why))

    def settle(self, kinds: frozenset[Ending], waiting_from: int, value: Value = None) -> Value:
        """Join the waiting paths of these kinds into the present one; return the joined value."""
        waiting = self.store.pending[waiting_from:]
        del self.store.pending[waiting_from:]
        for path in waiting:
            if path.kind in kinds:
                self.store.merge(path.mark, path.delta, path.why)
                value = join(value, path.value, path.why, self.spend)
            else:
                self.store.pending.append(path)
        return value

    def switch(self, kind: Ending, waiting_from: int, leaving: Done | None) -> Pending | None:
        """Leave the present path for a waiting one of this kind; None if none waits.

        The present path then waits in its place, unless it is None because it raised.
        """
        store = self.store
        for index in range(waiting_from, len(store.pending)):
            path = store.pending[index]
            if path.kind != kind:
                continue
            del store.pending[index]
            delta = store.rollback(path.mark, waiting_from)
            store.apply(path.delta)
            if leaving is not None:
                store.pending.append(
                    Pending(leaving.kind, path.mark, delta, leaving.value, path.why)
                )
            return path
        return None
