"""``argparse`` with a command line that the file itself writes down."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.interpreter import Interpreter, Raised
from worker.judging.static.objects import AbstractClass, AbstractList, CommandLine, Instance
from worker.judging.static.operations import constants
from worker.judging.static.scopes import Names
from worker.judging.static.values import Lib, Unknown, Value, is_constant

MAX_ARGUMENTS = 200
# What a parser is given that changes nothing of what it parses.
_PLAIN = frozenset(["add_help", "description", "epilog", "formatter_class", "prog", "usage"])
_TYPES: dict[str, Callable[[str], Any]] = {
    "builtins.bool": bool,
    "builtins.float": float,
    "builtins.int": int,
    "builtins.str": str,
    "pathlib.Path": str,
}
_ACTIONS = frozenset(
    ["append", "count", "extend", "store", "store_const", "store_false", "store_true"]
)


class _Unclear(Exception):  # noqa: N818  # not an error of anyone's
    """The parser is told something that is not followed."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Raised("SystemExit", Why.PROGRAM_LEAVES())


def make_parser(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``argparse.ArgumentParser(…)``."""
    plain = not given.positional and given.open is None and given.keywords.keys() <= _PLAIN
    unknown = Unknown(Why.RESULT(function="parse_args"))
    return CommandLine({} if plain else {CommandLine.declared: unknown})


def call_method(
    interpreter: Interpreter, parser: CommandLine, method: str, given: Arguments
) -> Value:
    """Call a method of a parser, or of a group of its arguments."""
    if method in ("add_argument_group", "add_mutually_exclusive_group"):
        return parser
    if method in ("parse_args", "parse_known_args"):
        return _parse(interpreter, parser, given, whole=method == "parse_args")
    declared = parser.declared
    known = method in ("add_argument", "set_defaults") and given.open is None
    if not known or not isinstance(declared, tuple) or len(declared) > MAX_ARGUMENTS:
        after: Value = Unknown(Why.RESULT(function=method))
    else:
        # A key of the tuple is no value of the file: it never gets out of here.
        after = (*declared, (method, tuple(given.positional), tuple(given.keywords.items())))
    interpreter.store.assign(parser, CommandLine.declared, after)
    return Unknown(Why.RESULT(function=method))


def _parse(
    interpreter: Interpreter, parser: CommandLine, given: Arguments, *, whole: bool
) -> Value:
    words = given.get("args", 0)
    texts = constants.iterate(words) if isinstance(words, (AbstractList, tuple)) else None
    unknown = Unknown(Why.RESULT(function="parse_args"))
    if not isinstance(texts, tuple) or not is_constant(texts) or len(given.positional) > 1:
        return unknown
    if "namespace" in given.keywords or not isinstance(parser.declared, tuple):
        return unknown
    interpreter.spend(10 * (len(parser.declared) + len(texts)))
    try:
        made = _Parser(add_help=False)
        for method, names, keywords in parser.declared:
            if method == "set_defaults":
                made.set_defaults(**dict(keywords))
            else:
                made.add_argument(*map(_text, names), **_keywords(interpreter, dict(keywords)))
        found, rest = made.parse_known_args([_text(word) for word in texts])
    except (_Unclear, ValueError, TypeError, IndexError, argparse.ArgumentError):
        return unknown
    if whole and rest:
        raise Raised("SystemExit", Why.PROGRAM_LEAVES())
    values = {name: _as_value(value) for name, value in vars(found).items()}
    namespace = Instance(Names(values), AbstractClass({}, "Namespace"))
    return namespace if whole else (namespace, AbstractList.of(tuple(rest)))


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise _Unclear
    return value


def _as_value(value: Any) -> Value:
    if isinstance(value, list):
        return AbstractList.of(tuple(value))
    return constants.bounded(value) if is_constant(value) else value


def _keywords(interpreter: Interpreter, keywords: dict[str, Value]) -> dict[str, Any]:
    """Return the keywords of ``add_argument`` as argparse itself takes them."""
    taken: dict[str, Any] = {}
    for name, value in keywords.items():
        if name in ("help", "metavar"):
            continue
        if name == "type":
            taken[name] = _type(interpreter, value)
        elif name == "action":
            if value == Lib("argparse.BooleanOptionalAction"):
                taken[name] = argparse.BooleanOptionalAction
            elif isinstance(value, str) and value in _ACTIONS:
                taken[name] = value
            else:
                raise _Unclear
        elif name in ("default", "const"):
            taken[name] = value
        else:
            plain = constants.plain(value)
            if name not in ("choices", "dest", "nargs", "required") or not is_constant(plain):
                raise _Unclear
            taken[name] = plain
    return taken


def _type(interpreter: Interpreter, value: Value) -> Callable[[str], Any]:
    if isinstance(value, Lib):
        if value.path not in _TYPES:
            raise _Unclear
        return _TYPES[value.path]
    return lambda text: interpreter.call(value, Arguments([text]))
