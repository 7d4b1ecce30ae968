"""Expressions: what each stands for, as far as the file's text tells."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable
from functools import partial
from typing import Any

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter_base import MAX_DEPTH, NEXT, Abandoned, Done, Machine, Raised
from worker.judging.static.operations import attributes, containers
from worker.judging.static.operations import constants as pure
from worker.judging.static.values import (
    MAX_LENGTH,
    MISSING,
    OPEN,
    SLOT,
    AbstractDict,
    AbstractList,
    Function,
    Lib,
    Names,
    Scope,
    Unknown,
    Value,
    element,
    is_constant,
    is_symbol,
    truth,
    weight,
)

BUILTIN_NAMES = frozenset(dir(builtins))
# What a star import of these modules is taken to bring.
STAR_NAMES: dict[str, Callable[[str], bool]] = {
    "diffusers": lambda name: name[:1].isupper(),
    "DeepCache": lambda name: name == "DeepCacheSDHelper",
    "tgate": lambda name: name.startswith("Tgate"),
    "tomesd": lambda name: name in ("apply_patch", "remove_patch"),
}
# Expressions that make nothing new, however large what they stand for is.
_FREE = (ast.Name, ast.Attribute, ast.Constant)


class Evaluator(Machine):
    """Evaluate expressions; calls are left to the class above."""

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[type[ast.expr], Callable[[Any, Scope], Value]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.Call: self._call,
            ast.BinOp: self._binary,
            ast.UnaryOp: lambda node, scope: pure.unary(
                node.op, self.evaluate(node.operand, scope)
            ),
            ast.BoolOp: self._logical,
            ast.Compare: self._compare,
            ast.IfExp: self._choice,
            ast.JoinedStr: self._joined,
            ast.Tuple: lambda node, scope: self._items(node.elts, scope),
            ast.List: lambda node, scope: AbstractList.of(self._items(node.elts, scope)),
            ast.Set: lambda node, scope: _set(self._items(node.elts, scope)),
            ast.Dict: self._dict,
            ast.Subscript: self._subscript,
            ast.Slice: self._slice,
            ast.Lambda: self._lambda,
            ast.NamedExpr: self._walrus,
            ast.Await: lambda node, scope: self.evaluate(node.value, scope),
            ast.Starred: lambda node, scope: self.evaluate(node.value, scope),
            ast.ListComp: lambda node, scope: AbstractList.of(self._comprehend(node, scope)),
            ast.SetComp: lambda node, scope: _set(self._comprehend(node, scope)),
            ast.GeneratorExp: lambda node, scope: AbstractList.of(self._comprehend(node, scope)),
            ast.DictComp: self._dict_comprehension,
            ast.Yield: self._yield,
            ast.YieldFrom: self._yield_from,
        }
        # What a yield does in the running generator: collect, or run a with block's body.
        self.yields: list[Callable[[Value], None]] = []

    def evaluate(self, node: ast.expr, scope: Scope) -> Value:
        """Return what an expression stands for.

        Raises:
            Abandoned: the file asks for too much work, or is nested too deeply.
            Raised: the expression certainly raises.
        """
        self.spend()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Abandoned(Why.NESTED_TOO_DEEPLY())
        try:
            handler = self._handlers.get(type(node))
            if handler is None:
                return Unknown(Why.UNUSUAL_EXPRESSION())
            value = handler(node, scope)
            if type(node) not in _FREE:
                self.spend(pure.size(value))
            return value
        finally:
            self.depth -= 1

    def lookup(self, name: str, scope: Scope) -> Value:
        """Return what a name stands for in a scope, MISSING if nothing binds it."""
        inner: Scope | None = scope
        while inner is not None:
            target = inner.redirected.get(name, inner)
            if name in target.names and (target is scope or not target.is_class):
                return target.names[name]
            self.spend(SLOT * len(inner.stars))
            for module in inner.stars:
                brings = STAR_NAMES.get(module.partition(".")[0])
                if brings is None:
                    return Unknown(Why.MAY_COME_FROM(name=name, module=module))
                if brings(name):
                    return Lib(f"{module}.{name}")
            inner = inner.parent
        return Lib(f"builtins.{name}") if name in BUILTIN_NAMES else MISSING

    def assign(self, target: ast.expr, value: Value, scope: Scope) -> None:
        """Bind a value to a target: a name, an attribute, an element, or several of them."""
        if isinstance(target, ast.Name):
            names = scope.redirected.get(target.id, scope).names
            self.store.put(names, target.id, value)
        elif isinstance(target, ast.Attribute):
            attributes.write(self, self.evaluate(target.value, scope), target.attr, value)
        elif isinstance(target, ast.Subscript):
            container = self.evaluate(target.value, scope)
            attributes.write_item(self, container, self.evaluate(target.slice, scope), value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target.elts, value, scope)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, value, scope)

    def _unpack(self, targets: list[ast.expr], value: Value, scope: Scope) -> None:
        self.spend(pure.size(value))
        items = pure.iterate(value)
        star = next((i for i, item in enumerate(targets) if isinstance(item, ast.Starred)), None)
        if not isinstance(items, Unknown):
            fits = len(items) == len(targets) if star is None else len(items) >= len(targets) - 1
            if not fits:
                raise Raised("ValueError", Why.WRONG_LENGTH())
        for place, target in enumerate(targets):
            if isinstance(items, Unknown):
                self.assign(target, element(items), scope)
            elif star is None or place < star:
                self.assign(target, items[place], scope)
            else:
                after = len(targets) - place - 1
                end = len(items) - after
                part = AbstractList.of(items[place:end]) if place == star else items[end - 1]
                self.assign(target, part, scope)

    def _constant(self, node: ast.Constant, scope: Scope) -> Value:
        return pure.bounded(node.value)

    def _name(self, node: ast.Name, scope: Scope) -> Value:
        value = self.lookup(node.id, scope)
        if value is MISSING:
            if node.id.startswith("__"):
                return Unknown(Why.MODULE_NAME(name=node.id))
            raise Raised("NameError", Why.NAME_NOT_DEFINED(name=node.id))
        return value

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Value:
        return attributes.read(self, self.evaluate(node.value, scope), node.attr)

    def _call(self, node: ast.Call, scope: Scope) -> Value:
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            return attributes.super_of(scope)
        function = self.evaluate(node.func, scope)
        return self.call(function, self.arguments(node, scope))

    def arguments(self, node: ast.Call, scope: Scope) -> Arguments:
        """Evaluate a call's arguments, stars and all."""
        given = Arguments()
        for item in node.args:
            value = self.evaluate(item, scope)
            if not isinstance(item, ast.Starred):
                given.positional.append(value)
                continue
            items = pure.iterate(value)
            if isinstance(items, Unknown):
                given.open = items
            else:
                given.positional.extend(items)
        for keyword in node.keywords:
            value = self.evaluate(keyword.value, scope)
            if keyword.arg is not None:
                given.keywords[keyword.arg] = value
            elif isinstance(value, AbstractDict):
                for key, entry in value.slots.items():
                    if key == OPEN:
                        given.open = Unknown(Why.DICT_ENTRIES())
                    elif isinstance(key, str):
                        given.keywords[key] = entry
            else:
                given.open = Unknown(
                    value.why if isinstance(value, Unknown) else Why.UNPACKED_OBJECT()
                )
        return given

    def _binary(self, node: ast.BinOp, scope: Scope) -> Value:
        # A long sum leans to the left; it is walked, not descended.
        chain = [node]
        while isinstance(chain[-1].left, ast.BinOp):
            chain.append(chain[-1].left)
        value = self.evaluate(chain[-1].left, scope)
        for link in reversed(chain):
            operand = self.evaluate(link.right, scope)
            self.spend(1 + pure.size(value) + pure.size(operand))
            value = pure.binary(link.op, value, operand)
        return value

    def _logical(self, node: ast.BoolOp, scope: Scope, place: int = 0) -> Value:
        stops_at = isinstance(node.op, ast.Or)
        for number, operand in enumerate(node.values[place:], place):
            value = self.evaluate(operand, scope)
            answer = truth(value)
            if answer is stops_at or number == len(node.values) - 1:
                return value
            if isinstance(answer, Unknown):
                # The rest may be evaluated or not, with all that it does.
                rest = partial(self._logical, node, scope, number + 1)
                return self.branch(answer, partial(_done, rest), partial(Done, "next", value)).value
        return None

    def _compare(self, node: ast.Compare, scope: Scope) -> Value:
        left = self.evaluate(node.left, scope)
        unknown: Unknown | None = None
        for op, operand in zip(node.ops, node.comparators, strict=True):
            right = self.evaluate(operand, scope)
            self.spend(pure.size(right))
            answer = pure.compare(op, left, right)
            if answer is False:
                return False
            if isinstance(answer, Unknown):
                unknown = answer
            left = right
        return True if unknown is None else unknown

    def _choice(self, node: ast.IfExp, scope: Scope) -> Value:
        answer = truth(self.evaluate(node.test, scope))
        if isinstance(answer, Unknown):
            paths = [
                partial(_done, partial(self.evaluate, branch, scope))
                for branch in (node.body, node.orelse)
            ]
            return self.branch(answer, *paths).value
        return self.evaluate(node.body if answer else node.orelse, scope)

    def _joined(self, node: ast.JoinedStr, scope: Scope) -> Value:
        pieces: list[str] = []
        unknown: Unknown | None = None
        for part in node.values:
            piece = self._piece(part, scope)
            if isinstance(piece, str):
                pieces.append(piece)
            else:
                unknown = Unknown(piece.why if isinstance(piece, Unknown) else Why.TEXT())
        if sum(map(len, pieces)) > MAX_LENGTH:
            return Unknown(Why.LONG_TEXT())
        return unknown or "".join(pieces)

    def _piece(self, part: ast.expr, scope: Scope) -> Value:
        """Return one part of an f-string as text."""
        value = self.evaluate(part.value if isinstance(part, ast.FormattedValue) else part, scope)
        if not isinstance(part, ast.FormattedValue):
            return value
        self.spend(pure.size(value))
        layout = "" if part.format_spec is None else self.evaluate(part.format_spec, scope)
        return pure.text(value, part.conversion, layout) if isinstance(layout, str) else layout

    def _items(self, nodes: list[ast.expr], scope: Scope) -> tuple[Value, ...] | Unknown:
        items: list[Value] = []
        for node in nodes:
            value = self.evaluate(node, scope)
            if isinstance(node, ast.Starred):
                inner = pure.iterate(value)
                if isinstance(inner, Unknown):
                    return inner
                items.extend(inner)
            else:
                items.append(value)
        size = weight(tuple(items))
        return tuple(items) if size <= MAX_LENGTH else Unknown(Why.LONG_LIST())

    def _dict(self, node: ast.Dict, scope: Scope) -> Value:
        entries = AbstractDict()
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            value = self.evaluate(value_node, scope)
            if key_node is not None:
                key = self.evaluate(key_node, scope)
                if is_constant(key) or is_symbol(key):
                    entries.slots[key] = value
                else:
                    entries.slots[OPEN] = Unknown(Why.UNKNOWN_ENTRY())
            else:
                attributes.absorb(entries.slots, value)
        return entries

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Value:
        container = self.evaluate(node.value, scope)
        key = self.evaluate(node.slice, scope)
        return attributes.read_item(self, container, key)

    def _slice(self, node: ast.Slice, scope: Scope) -> Value:
        bounds = [
            None if part is None else self.evaluate(part, scope)
            for part in (node.lower, node.upper, node.step)
        ]
        for bound in bounds:
            if not isinstance(bound, (int, type(None))):
                return Unknown(Why.SLICE())
        return slice(*bounds)

    def _lambda(self, node: ast.Lambda, scope: Scope) -> Value:
        return self.function(node, scope)

    def function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: Scope
    ) -> Function:
        """Return a function, with its defaults evaluated now."""
        return Function(
            node,
            scope,
            tuple(self.evaluate(default, scope) for default in node.args.defaults),
            tuple(
                MISSING if default is None else self.evaluate(default, scope)
                for default in node.args.kw_defaults
            ),
        )

    def _walrus(self, node: ast.NamedExpr, scope: Scope) -> Value:
        value = self.evaluate(node.value, scope)
        self.assign(node.target, value, scope)
        return value

    def _comprehend(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: Scope
    ) -> tuple[Value, ...] | Unknown:
        results: list[Value] = []
        failed = self._generate(
            node.generators,
            Scope(Names(), scope),
            lambda inner: results.append(self.evaluate(node.elt, inner)),
        )
        return failed or tuple(results)

    def _dict_comprehension(self, node: ast.DictComp, scope: Scope) -> Value:
        entries = AbstractDict()

        def add(inner: Scope) -> None:
            key, value = self.evaluate(node.key, inner), self.evaluate(node.value, inner)
            if is_constant(key):
                entries.slots[key] = value
            else:
                entries.slots[OPEN] = Unknown(Why.UNKNOWN_ENTRY())

        failed = self._generate(node.generators, Scope(Names(), scope), add)
        return AbstractDict({OPEN: failed}) if failed else entries

    def _generate(
        self, generators: list[ast.comprehension], scope: Scope, emit: Callable[[Scope], None]
    ) -> Unknown | None:
        """Run a comprehension's loops; return why its length is not known, if it is not."""
        if not generators:
            emit(scope)
            return None
        first, rest = generators[0], generators[1:]
        items = pure.iterate(self.evaluate(first.iter, scope))
        failed: Unknown | None = None
        for item in (element(items),) * 2 if isinstance(items, Unknown) else items:
            self.spend()
            self.assign(first.target, item, scope)
            answers = [truth(self.evaluate(test, scope)) for test in first.ifs]
            if any(answer is False for answer in answers):
                continue
            doubts = [answer for answer in (items, *answers) if isinstance(answer, Unknown)]
            if not doubts:
                failed = self._generate(rest, scope, emit) or failed
                continue
            # It may come to the element or not: the element may well be the pipeline's call.
            failed = doubts[0]
            self.branch(
                failed, partial(_done, partial(self._generate, rest, scope, emit)), lambda: NEXT
            )
        return failed or (items if isinstance(items, Unknown) else None)

    def _yield(self, node: ast.Yield, scope: Scope) -> Value:
        value = None if node.value is None else self.evaluate(node.value, scope)
        if self.yields:
            self.yields[-1](value)
        return Unknown(Why.SENT_VALUE())

    def _yield_from(self, node: ast.YieldFrom, scope: Scope) -> Value:
        items = pure.iterate(self.evaluate(node.value, scope))
        for item in items if isinstance(items, tuple) else (items,):
            if self.yields:
                self.yields[-1](item)
        return Unknown(Why.GENERATOR_RESULT())


def _set(items: tuple[Value, ...] | Unknown) -> AbstractList:
    return AbstractList.of(items) if isinstance(items, Unknown) else containers.unique(items)


def _done(evaluate: Callable[[], Value]) -> Done:
    return Done(value=evaluate())
