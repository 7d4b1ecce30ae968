"""Definitions: functions, decorators, classes, imports; and patterns."""

from __future__ import annotations

import ast
from functools import partial

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.calls import Caller
from worker.judging.static.interpreter_base import NEXT, Abandoned, Done, Raised
from worker.judging.static.operations import attributes
from worker.judging.static.operations import constants as pure
from worker.judging.static.values import (
    MISSING,
    SLOT,
    AbstractClass,
    Function,
    Instance,
    Lib,
    Names,
    Scope,
    Unknown,
    Value,
    is_constant,
    truth,
)

MAX_LINEAGE = 60  # classes that one inherits from
DATA_CLASSES = (Lib("typing.NamedTuple"), Lib("pydantic.BaseModel"))


def linearize(bases: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return what a class with these bases inherits from, in Python's order; None if it has none.

    C3: a class stands before its own bases, and bases stand in the order in which they are given.
    """
    waiting = [
        (base, *base.lineage) if isinstance(base, AbstractClass) else (base,) for base in bases
    ]
    waiting.append(bases)
    order: list[Value] = []
    while waiting := [line for line in waiting if line]:
        later = {id(cls) for line in waiting for cls in line[1:]}
        first = next((line[0] for line in waiting if id(line[0]) not in later), MISSING)
        if first is MISSING or len(order) > MAX_LINEAGE:
            return None if first is MISSING else tuple(order)
        order.append(first)
        waiting = [line[1:] if line[0] is first else line for line in waiting]
    return tuple(order)


class Definer(Caller):
    """Execute the statements that bind names, and match statements."""

    def define_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> Done:
        plain = self.function(node, scope)
        value: Value = plain
        for decorator in reversed(node.decorator_list):
            value = self._decorated(self.evaluate(decorator, scope), value)
        self.store.put(scope.redirected.get(node.name, scope).names, node.name, value)
        return NEXT

    def _decorated(self, decorator: Value, value: Value) -> Value:
        if isinstance(decorator, Lib) and isinstance(value, Function):
            kinds = {
                "builtins.staticmethod": "static",
                "builtins.classmethod": "class",
                "builtins.property": "property",
                "functools.cached_property": "property",
                "contextlib.contextmanager": "manager",
                "contextlib.asynccontextmanager": "manager",
            }
            kind = kinds.get(decorator.path)
            if kind is not None:
                return Function(
                    value.node,
                    value.scope,
                    value.defaults,
                    value.keyword_defaults,
                    kind,
                    value.owner,
                )
            if decorator.last in ("override", "abstractmethod", "profile", "wraps"):
                return value
        return self.call(decorator, Arguments([value]))

    def define_class(self, node: ast.ClassDef, scope: Scope) -> Done:
        bases = tuple(self.evaluate(base, scope) for base in node.bases)
        decorators = [self.evaluate(item, scope) for item in node.decorator_list]
        decorators = [getattr(item, "function", item) for item in decorators]
        is_data = any(getattr(item, "last", "") == "dataclass" for item in decorators)
        lineage = linearize(bases)
        if lineage is None:
            raise Raised("TypeError", Why.NO_BASE_ORDER(cls=node.name))
        if len(lineage) > MAX_LINEAGE:
            raise Abandoned(Why.TOO_MANY_CLASSES(cls=node.name))
        is_data = is_data or any(getattr(base, "is_data", False) for base in lineage)
        is_data = is_data or any(base in lineage for base in DATA_CLASSES)
        inner = Scope(Names(), scope, is_class=True)
        cls = AbstractClass({}, node.name, lineage, is_data)
        self.run_block(node.body, inner)
        for name, value in inner.names.items():
            member = value
            if isinstance(value, Function) and value.owner is None:
                member = Function(
                    value.node, value.scope, value.defaults, value.keyword_defaults, value.kind, cls
                )
            elif cls.is_enum and is_constant(value) and not str(name).startswith(("_", "\0")):
                member = Instance(Names(name=name, value=value), cls)
            cls.slots[name] = member
        cls.lineage = self._overridden(cls)
        self.store.put(scope.redirected.get(node.name, scope).names, node.name, cls)
        return NEXT

    def _overridden(self, cls: AbstractClass) -> tuple[Value, ...]:
        """Return a class's lineage; what methods of the file make of a pipeline class is unknown."""
        own = [base for base in (cls, *cls.lineage) if isinstance(base, AbstractClass)]
        self.spend(SLOT * sum(len(base.slots) for base in own))
        if not any(isinstance(item, Function) for base in own for item in base.slots.values()):
            return cls.lineage
        unknown = Unknown(Why.BASE_CHANGED(cls=cls.name))
        return tuple(
            unknown if isinstance(base, Lib) and base.root == "diffusers" else base
            for base in cls.lineage
        )

    def import_module(self, node: ast.Import, scope: Scope) -> Done:
        for alias in node.names:
            path = alias.name if alias.asname else alias.name.partition(".")[0]
            name = alias.asname or path
            self.store.put(scope.redirected.get(name, scope).names, name, Lib(path))
        return NEXT

    def import_from(self, node: ast.ImportFrom, scope: Scope) -> Done:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name == "*":
                scope.stars.append(module)
                continue
            name = alias.asname or alias.name
            value = attributes.read(self, Lib(module), alias.name)
            self.store.put(scope.redirected.get(name, scope).names, name, value)
        return NEXT

    def redirect(self, node: ast.Global | ast.Nonlocal, scope: Scope) -> Done:
        for name in node.names:
            target = self.module
            if isinstance(node, ast.Nonlocal):
                outer = scope.parent
                while outer is not None and name not in outer.names:
                    outer = outer.parent
                target = outer or self.module
            if target is not scope:
                scope.redirected[name] = target
        return NEXT

    def match(self, node: ast.Match, scope: Scope) -> Done:
        subject = self.evaluate(node.subject, scope)
        return self._match_cases(subject, node.cases, scope)

    def _match_cases(self, subject: Value, cases: list[ast.match_case], scope: Scope) -> Done:
        for place, case in enumerate(cases):
            answer = self._fits(case.pattern, subject, scope)
            if answer is True and case.guard is not None:
                answer = truth(self.evaluate(case.guard, scope))
            if answer is True:
                return self.run_block(case.body, scope)
            if isinstance(answer, Unknown):
                return self.branch(
                    answer,
                    partial(self.run_block, case.body, scope),
                    partial(self._match_cases, subject, cases[place + 1 :], scope),
                )
        return NEXT

    def _fits(self, pattern: ast.pattern, subject: Value, scope: Scope) -> bool | Unknown:
        if isinstance(pattern, ast.MatchValue):
            return pure.compare(ast.Eq(), subject, self.evaluate(pattern.value, scope))
        if isinstance(pattern, ast.MatchSingleton):
            return pure.compare(ast.Is(), subject, pattern.value)
        if isinstance(pattern, ast.MatchAs):
            answer = (
                True if pattern.pattern is None else self._fits(pattern.pattern, subject, scope)
            )
            if pattern.name and answer is not False:
                self.store.put(scope.names, pattern.name, subject)
            return answer
        if isinstance(pattern, ast.MatchOr):
            answers = [self._fits(option, subject, scope) for option in pattern.patterns]
            if True in answers:
                return True
            return next((item for item in answers if isinstance(item, Unknown)), False)
        return Unknown(Why.PATTERN())
