"""The tables of handlers: together they are complete, and no two of them claim the same."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import ModuleType

import pytest

from worker.judging.static.extract import HANDLERS
from worker.judging.static.interpreter import (
    classes,
    comprehensions,
    expressions,
    functions,
    loops,
    names,
    statements,
    with_blocks,
)

MODULES = (classes, comprehensions, expressions, functions, loops, names, statements, with_blocks)
# A ``pass`` does nothing; parts of an f-string are evaluated by the f-string's own handler.
WITHOUT_HANDLER = {"Pass", "FormattedValue"}
# Nothing made of these is followed: their values are unknown.
UNKNOWN = {"TemplateStr", "Interpolation"}


@pytest.mark.parametrize("table", ["STATEMENTS", "EXPRESSIONS"])
def test_every_kind_of_node_has_one_handler(table: str) -> None:
    base: type[ast.AST] = ast.stmt if table == "STATEMENTS" else ast.expr
    used: Mapping[type, object] = getattr(HANDLERS, table.lower())
    kinds = {kind for kind in base.__subclasses__() if kind.__name__ not in WITHOUT_HANDLER}
    assert {kind.__name__ for kind in kinds - used.keys()} <= UNKNOWN


@pytest.mark.parametrize("table", ["STATEMENTS", "EXPRESSIONS"])
def test_no_two_modules_handle_the_same(table: str) -> None:
    claimed: dict[type, ModuleType] = {}
    for module in MODULES:
        for kind in getattr(module, table, {}):
            assert kind not in claimed, (kind, claimed[kind], module)
            claimed[kind] = module
    assert claimed.keys() == getattr(HANDLERS, table.lower()).keys()
