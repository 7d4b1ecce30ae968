"""Names: where they are looked up, and every statement that binds or unbinds them."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator

from worker.judging.facts.packages import IMPORTED_PACKAGES
from worker.judging.reasons.codes import Why
from worker.judging.static.interpreter.interpreter import (
    NEXT,
    Done,
    Interpreter,
    Raised,
    StatementHandler,
)
from worker.judging.static.objects import AbstractList, element
from worker.judging.static.operations import attributes, constants, items
from worker.judging.static.operations.iteration import constants_of, take
from worker.judging.static.scopes import STARS, Scope
from worker.judging.static.values import (
    MISSING,
    SLOT,
    Lib,
    Unknown,
    Value,
)

BUILTIN_NAMES = frozenset(dir(builtins))
# What a star import of these modules is taken to bring.
STAR_NAMES: dict[str, Callable[[str], bool]] = {
    "diffusers": lambda name: name[:1].isupper(),
    **{name: package.knows for name, package in IMPORTED_PACKAGES.items()},
}


def lookup(interpreter: Interpreter, name: str, scope: Scope) -> Value:
    """Return what a name stands for in a scope, MISSING if nothing binds it."""
    inner: Scope | None = scope
    while inner is not None:
        target = inner.redirected.get(name, inner)
        if name in target.names and (target is scope or not target.is_class):
            return target.names[name]
        own = inner.function if target is inner else None
        if own is not None and name in _locals(interpreter, own.node):  # bound later, if at all
            raise Raised("UnboundLocalError", Why.NAME_NOT_DEFINED(name=name))
        stars = inner.names.get(STARS, ())
        if isinstance(stars, Unknown):
            return Unknown(stars.why)
        for module in map(str, constants_of(stars)):
            interpreter.spend(SLOT)
            brings = STAR_NAMES.get(module.partition(".")[0])
            if brings is None:
                return Unknown(Why.MAY_COME_FROM(name=name, module=module))
            if brings(name):
                return Lib(f"{module}.{name}")
        inner = inner.parent
    return Lib(f"builtins.{name}") if name in BUILTIN_NAMES else MISSING


_INNER_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def _locals(interpreter: Interpreter, node: ast.AST) -> frozenset[str]:
    """Return the names that a function's body binds by assignment, anywhere in it."""
    known = interpreter.locals.get(id(node))
    if known is None:
        bound = set()
        body = getattr(node, "body", ())
        waiting: list[ast.AST] = list(body) if isinstance(body, list) else []
        while waiting:
            inner = waiting.pop()
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                bound.add(inner.id)
            if not isinstance(inner, _INNER_SCOPES):
                waiting.extend(ast.iter_child_nodes(inner))
        known = interpreter.locals[id(node)] = frozenset(bound)
    return known


def assign(interpreter: Interpreter, target: ast.expr, value: Value, scope: Scope) -> None:
    """Bind a value to a target: a name, an attribute, an element, or several of them."""
    if isinstance(target, ast.Name):
        names = scope.redirected.get(target.id, scope).names
        interpreter.store.put(names, target.id, value)
    elif isinstance(target, ast.Attribute):
        attributes.write(interpreter, interpreter.evaluate(target.value, scope), target.attr, value)
    elif isinstance(target, ast.Subscript):
        container = interpreter.evaluate(target.value, scope)
        items.write_item(interpreter, container, interpreter.evaluate(target.slice, scope), value)
    elif isinstance(target, (ast.Tuple, ast.List)):
        _unpack(interpreter, target.elts, value, scope)
    elif isinstance(target, ast.Starred):
        assign(interpreter, target.value, value, scope)


def _unpack(interpreter: Interpreter, targets: list[ast.expr], value: Value, scope: Scope) -> None:
    interpreter.spend(constants.size(value))
    count = len(targets) + 1
    starred = any(isinstance(item, ast.Starred) for item in targets)
    items = take(interpreter, value, lambda items: not starred and len(items) == count)
    star = next((i for i, item in enumerate(targets) if isinstance(item, ast.Starred)), None)
    if not isinstance(items, Unknown):
        fits = len(items) == len(targets) if star is None else len(items) >= len(targets) - 1
        if not fits:
            raise Raised("ValueError", Why.WRONG_LENGTH())
    for place, target in enumerate(targets):
        if isinstance(items, Unknown):
            assign(interpreter, target, element(items), scope)
        elif star is None or place < star:
            assign(interpreter, target, items[place], scope)
        else:
            after = len(targets) - place - 1
            end = len(items) - after
            part = AbstractList.of(items[place:end]) if place == star else items[end - 1]
            assign(interpreter, target, part, scope)


def _import_module(interpreter: Interpreter, node: ast.Import, scope: Scope) -> Done:
    for alias in node.names:
        path = alias.name if alias.asname else alias.name.partition(".")[0]
        name = alias.asname or path
        interpreter.store.put(scope.redirected.get(name, scope).names, name, Lib(path))
    return NEXT


def _import_from(interpreter: Interpreter, node: ast.ImportFrom, scope: Scope) -> Done:
    module = "." * node.level + (node.module or "")
    for alias in node.names:
        if alias.name == "*":
            _import_all(interpreter, module, scope)
            continue
        name = alias.asname or alias.name
        value = attributes.read(interpreter, Lib(module), alias.name)
        interpreter.store.put(scope.redirected.get(name, scope).names, name, value)
    return NEXT


def _import_all(interpreter: Interpreter, module: str, scope: Scope) -> None:
    """Import with *: of a module that is not known it may bring any name, also one that is bound."""
    names = scope.names
    if module.partition(".")[0] not in STAR_NAMES:
        for name, value in list(names.items()):
            if isinstance(name, str) and not isinstance(value, Lib) and not name.startswith("_"):
                why = Why.MAY_COME_FROM(name=name, module=module)
                interpreter.store.put(names, name, Unknown(why))
    interpreter.store.put(names, STARS, (*constants_of(names.get(STARS, ())), module))


def declare(interpreter: Interpreter, body: list[ast.stmt], scope: Scope) -> None:
    """Take the global and nonlocal names of a function: they hold in all of it, run or not."""
    known = interpreter.declarations.get(id(body))
    if known is None:
        known = interpreter.declarations[id(body)] = list(_declarations(body))
    for node in known:
        _redirect(interpreter, node, scope)


def _declarations(body: list[ast.stmt]) -> Iterator[ast.Global | ast.Nonlocal]:
    waiting: list[ast.AST] = [*body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            yield node
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)):
            waiting.extend(ast.iter_child_nodes(node))


def _redirect(interpreter: Interpreter, node: ast.Global | ast.Nonlocal, scope: Scope) -> Done:
    for name in node.names:
        target = interpreter.module
        if isinstance(node, ast.Nonlocal):
            outer = scope.parent
            while outer is not None and name not in outer.names:
                outer = outer.parent
            target = outer or interpreter.module
        if target is not scope:
            scope.redirected[name] = target
    return NEXT


def _delete(interpreter: Interpreter, node: ast.Delete, scope: Scope) -> Done:
    for target in node.targets:
        if isinstance(target, ast.Name):
            interpreter.store.drop(scope.redirected.get(target.id, scope).names, target.id)
        elif isinstance(target, ast.Attribute):
            attributes.delete(interpreter, interpreter.evaluate(target.value, scope), target.attr)
        elif isinstance(target, ast.Subscript):
            container = interpreter.evaluate(target.value, scope)
            items.delete_item(interpreter, container, interpreter.evaluate(target.slice, scope))
    return NEXT


def _type_alias(interpreter: Interpreter, node: ast.AST, scope: Scope) -> Done:
    interpreter.store.put(scope.names, getattr(node, "name").id, Unknown(Why.TYPE()))  # noqa: B009
    return NEXT


STATEMENTS: dict[type[ast.stmt], StatementHandler] = {
    ast.Import: _import_module,
    ast.ImportFrom: _import_from,
    ast.Global: _redirect,
    ast.Nonlocal: _redirect,
    ast.Delete: _delete,
}
if hasattr(ast, "TypeAlias"):
    STATEMENTS[ast.TypeAlias] = _type_alias
