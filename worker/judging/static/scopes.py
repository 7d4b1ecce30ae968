"""Scopes, and what is called in them: functions of the file, methods, partial calls."""

from __future__ import annotations

import ast
import itertools
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from worker.judging.static.objects import AbstractClass, Slots
from worker.judging.static.values import Lib, Unknown, Value

# The slot of a module's scope that holds the modules imported with *, in order.
STARS = Lib("import *")
_NUMBERS = itertools.count()


class Names(dict[Any, Value]):
    """The slots of a scope. A name bound on one path only is taken as bound: else it would fail.

    Numbered in the order in which they are made.
    """

    __slots__ = ("number",)

    def __init__(self, *entries: Any, **more: Value) -> None:
        super().__init__(*entries, **more)
        self.number = next(_NUMBERS)

    @staticmethod
    def count() -> int:
        """Return a number that every one made from now on is above."""
        return next(_NUMBERS)


@dataclass(eq=False)
class Scope:
    """Names, and the scope in which a name not found here is looked up."""

    names: Names = field(default_factory=Names)
    parent: Scope | None = None
    is_class: bool = False
    # By global and nonlocal.
    redirected: dict[str, Scope] = field(default_factory=dict)
    # A comprehension's: what it binds by := is bound around it.
    is_comprehension: bool = False
    # A class body's annotated names, in order.
    annotated: tuple[str, ...] = ()
    function: Function | None = None
    # The object that the running method belongs to.
    receiver: Value = None


# What decorators make of a function.
Kind: TypeAlias = Literal["function", "static", "class", "property"]


@dataclass(frozen=True, eq=False)
class Context:
    """A context manager of a library, and what holds while it does; MISSING: nothing."""

    setting: str
    value: Value


@dataclass(frozen=True, eq=False)
class Function:
    """A function or lambda of the file, with its defaults as they were when it was defined."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope
    defaults: tuple[Value, ...] = ()
    keyword_defaults: tuple[Value, ...] = ()  # MISSING: has none
    kind: Kind = "function"
    owner: AbstractClass | None = None
    # Of a property: what sets it, and whether its value is kept once it is computed.
    setter: Value = None
    is_cached: bool = False
    is_abstract: bool = False
    # Those that it runs in, by its decorators.
    contexts: tuple[Context, ...] = ()

    @property
    def name(self) -> str:
        return getattr(self.node, "name", "<lambda>")


@dataclass(frozen=True, eq=False)
class Bound:
    """A method taken from a value: ``pipe.to``, ``helper.enable``, ``names.append``."""

    receiver: Value
    method: str | Function


@dataclass(frozen=True, eq=False)
class Partial:
    """``functools.partial``: a callable with arguments already given."""

    function: Value
    positional: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]
    spread: Slots | None = None  # see Arguments
    open: Unknown | None = None


@dataclass(frozen=True, eq=False)
class Super:
    """``super()`` inside a method."""

    receiver: Value
    after: AbstractClass
