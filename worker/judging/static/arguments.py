"""The arguments of a call, and how a signature takes them."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.judging.reasons.codes import Reason, Why
from worker.judging.static.joining import same
from worker.judging.static.objects import AbstractDict, AbstractList, Slots
from worker.judging.static.scopes import Function
from worker.judging.static.values import MISSING, Unknown, Value


@dataclass
class Arguments:
    """Positional and keyword arguments; ``open`` says why there may be more than these."""

    positional: list[Value] = field(default_factory=list)
    keywords: dict[str, Value] = field(default_factory=dict)
    open: Unknown | None = None
    # The fields of the dictionaries that were given by **: whose configuration, whose parts.
    spread: Slots | None = None

    def get(self, name: str, place: int | None = None, default: Value = None) -> Value:
        """Return the argument of this name or place; Unknown if it may be among unknown ones."""
        if name in self.keywords:
            return self.keywords[name]
        if place is not None and place < len(self.positional):
            return self.positional[place]
        return default if self.open is None else self.open

    def with_first(self, *values: Value) -> Arguments:
        """Return these arguments with others before them."""
        return Arguments([*values, *self.positional], self.keywords, self.open, self.spread)

    def without_first(self) -> Arguments:
        """Return these arguments without the first positional one."""
        return Arguments(self.positional[1:], self.keywords, self.open, self.spread)

    def named(self, order: Sequence[str], defaults: Mapping[str, Value]) -> dict[str, Value]:
        """Return every parameter's value for a signature of this order and these defaults.

        Parameters that the signature does not name are kept under their own names.
        """
        values = dict(defaults)
        if self.open is not None:
            values = dict.fromkeys(values, self.open)
        values.update(zip(order, self.positional, strict=False))
        values.update(self.keywords)
        return values


def is_default(value: Value, default: Value) -> bool:
    """Whether an argument is certainly this default; 1 is as good as 1.0, a list as a tuple."""
    value, default = (
        item.items if isinstance(item, AbstractList) else item for item in (value, default)
    )
    if isinstance(value, tuple) and isinstance(default, tuple):
        pairs = zip(value, default, strict=False)
        return len(value) == len(default) and all(is_default(*pair) for pair in pairs)
    return same(value, default) or (_is_number(value) and _is_number(default) and value == default)


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def without_defaults(arguments: Slots, defaults: Mapping[str, object]) -> Slots:
    """Return the arguments that are not, or may not be, the defaults."""
    return {
        name: value
        for name, value in arguments.items()
        if not (name in defaults and is_default(value, defaults[name]))
    }


def refused(function: Function, given: Arguments) -> Reason | None:
    """Return why a function of the file certainly refuses these arguments; None if it may not."""
    if given.open is not None:
        return None
    spec = function.node.args
    by_place = [item.arg for item in spec.posonlyargs]
    names = [*by_place, *(item.arg for item in spec.args)]
    if len(given.positional) > len(names) and not spec.vararg:
        return Why.TOO_MANY_ARGUMENTS(function=function.name)
    taken = set(names[: len(given.positional)])
    by_name = {*names, *(item.arg for item in spec.kwonlyargs)} - set(by_place)
    for name in given.keywords:
        if name in taken and name in by_name:
            return Why.GIVEN_TWICE(name=name)
        if name not in by_name and not spec.kwarg:
            return Why.TAKES_NO(function=function.name, name=name)
    if given.spread:
        return None
    needed = names[: len(names) - len(function.defaults)]
    pairs = zip(spec.kwonlyargs, function.keyword_defaults, strict=True)
    needed += [item.arg for item, default in pairs if default is MISSING]
    left = [name for name in needed if name not in taken and name not in given.keywords]
    return Why.NEEDS(function=function.name, name=left[0]) if left else None


def bind(function: Function, given: Arguments) -> dict[str, Value]:
    """Return what each parameter of a function of the file is bound to.

    Parameters for which nothing may have been given and that have no default are Unknown.
    """
    spec = function.node.args
    names = [argument.arg for argument in [*spec.posonlyargs, *spec.args]]
    missing = given.open or Unknown(Why.PARAMETER_NOT_PASSED())
    bound: dict[str, Value] = dict.fromkeys(names, missing)
    if function.defaults and given.open is None:
        bound.update(zip(names[-len(function.defaults) :], function.defaults, strict=True))
    for argument, default in zip(spec.kwonlyargs, function.keyword_defaults, strict=True):
        usable = default is not MISSING and given.open is None
        bound[argument.arg] = default if usable else missing
    bound.update(zip(names, given.positional, strict=False))
    extra: dict[str, Value] = {}
    for name, value in given.keywords.items():
        if name in bound:
            bound[name] = value
        else:
            extra[name] = value
    if spec.vararg:
        rest = tuple(given.positional[len(names) :])
        bound[spec.vararg.arg] = given.open or rest
    if spec.kwarg:
        entries = AbstractDict(extra | (given.spread or {}))
        if given.open:
            entries.slots[AbstractDict.open] = given.open
        bound[spec.kwarg.arg] = entries
    return bound


def is_generator(node: ast.AST) -> bool:
    """Whether a function's own body yields."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(node))
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(inner))
    return False
