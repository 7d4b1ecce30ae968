"""Python's standard library, as far as it computes with values: a table of small functions."""

from __future__ import annotations

import ast
import json
import textwrap
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    AbstractList,
    Instance,
)
from worker.judging.static.operations import (
    attributes,
    constants,
    containers,
    items,
    iteration,
    operators,
)
from worker.judging.static.operations.iteration import collect
from worker.judging.static.operations.standard import command_line
from worker.judging.static.scopes import Bound, Function, Names, Partial
from worker.judging.static.values import MISSING, Lib, Unknown, Value, is_constant

MAX_TEXT = 20_000  # letters of a text that is parsed
MAX_PARSED = 5_000  # values in it
Call = Callable[[Interpreter, Arguments], Value]


class _TooMuch(Exception):  # noqa: N818  # not an error of anyone's
    """A text stands for more values than are kept."""


def value_of(raw: Any) -> Value:
    """Return what a parser of a data format returned as a value of the interpreter.

    Raises:
        _TooMuch: it holds too many values.
    """
    left = MAX_PARSED

    def convert(item: Any) -> Value:
        nonlocal left
        left -= 1
        if left < 0:
            raise _TooMuch
        if isinstance(item, dict):
            return AbstractDict({key: convert(entry) for key, entry in item.items()})
        if isinstance(item, list):
            return AbstractList.of(tuple(map(convert, item)))
        if isinstance(item, tuple):
            return tuple(map(convert, item))
        return constants.bounded(item) if is_constant(item) else Unknown(Why.PROGRAM_OBJECT())

    return convert(raw)


def _json(text: str) -> Any:
    return json.loads(text)


def _yaml(text: str) -> Any:
    import yaml  # only for programs that use it

    return yaml.safe_load(text)


def _toml(text: str) -> Any:
    return import_module("tomllib").loads(text)  # from Python 3.11 on


def _parse(
    interpreter: Interpreter, given: Arguments, *, parser: Callable[[str], Any], name: str
) -> Value:
    """Parse a text that is known, with the parser that the program itself would use."""
    text = given.positional[0] if given.positional else next(iter(given.keywords.values()), None)
    loaders = {item.last for item in given.keywords.values() if isinstance(item, Lib)}
    plain = not given.keywords or loaders <= {"SafeLoader", "CSafeLoader", "FullLoader"}
    if not isinstance(text, str) or not plain or given.open or len(text) > MAX_TEXT:
        return Unknown(text.why if isinstance(text, Unknown) else Why.RESULT(function=name))
    interpreter.spend(len(text) / 10)
    try:
        return value_of(parser(text))
    except Exception as error:  # noqa: BLE001  # whatever the parser makes of a judged text
        return Unknown(Why.FAILING_EXPRESSION(exception=type(error).__name__))


def _parser(name: str, parser: Callable[[str], Any]) -> Call:
    return partial(_parse, parser=parser, name=name)


def _dedent(interpreter: Interpreter, given: Arguments) -> Value:
    text = given.get("text", 0)
    if not isinstance(text, str):
        return Unknown(text.why if isinstance(text, Unknown) else Why.TEXT())
    interpreter.spend(len(text) / 100)
    return constants.known(textwrap.dedent, text)


# Data classes and named tuples.


def _replace(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``dataclasses.replace(instance, …)``."""
    instance = given.get("", 0)
    if not isinstance(instance, Instance) or not instance.cls.is_data or given.open:
        return Unknown(Why.RESULT(function="replace"))
    fields = {name: instance.slots[name] for name in instance.cls.all_fields()}
    return interpreter.call(instance.cls, Arguments(keywords=fields | given.keywords))


def _as_plain(interpreter: Interpreter, value: Value, depth: int = 0) -> Value:
    """Return what ``dataclasses.asdict`` makes of a value."""
    interpreter.spend()
    if depth > 20:
        return Unknown(Why.VALUE_NESTED_TOO_DEEPLY())
    inner = partial(_as_plain, interpreter, depth=depth + 1)
    if isinstance(value, Instance) and value.cls.is_data and not value.cls.is_named_tuple:
        names = value.cls.all_fields()
        return AbstractDict({name: inner(value.slots[name]) for name in names})
    if isinstance(value, AbstractDict):
        return value.like({key: inner(item) for key, item in value.slots.items()})
    if isinstance(value, AbstractList) and isinstance(value.items, tuple):
        return AbstractList.of(tuple(map(inner, value.items)))
    if isinstance(value, tuple):
        return tuple(map(inner, value))
    return value


def _asdict(interpreter: Interpreter, given: Arguments) -> Value:
    value = given.get("obj", 0)
    if isinstance(value, Instance) and value.cls.is_data:
        return _as_plain(interpreter, value)
    return Unknown(Why.ATTRIBUTES())


def _astuple(interpreter: Interpreter, given: Arguments) -> Value:
    value = given.get("obj", 0)
    if isinstance(value, Instance) and value.cls.is_data:
        found = tuple(value.slots[name] for name in value.cls.all_fields())
        nested = any(isinstance(item, Instance) for item in found)
        return Unknown(Why.ATTRIBUTES()) if nested else found
    return Unknown(Why.ATTRIBUTES())


def _fields(interpreter: Interpreter, given: Arguments) -> Value:
    owner = given.get("class_or_instance", 0)
    cls = owner.cls if isinstance(owner, Instance) else owner
    if not isinstance(cls, AbstractClass) or not cls.is_data:
        return Unknown(Why.ATTRIBUTES())
    field = AbstractClass({}, "Field")
    return tuple(
        Instance(Names({AbstractDict.open: Unknown(Why.ATTRIBUTES()), "name": name}), field)
        for name in cls.all_fields()
    )


def _named_tuple(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``collections.namedtuple(name, fields, defaults=…)``."""
    name, names = given.get("typename", 0), given.get("field_names", 1)
    if isinstance(names, str):
        names = tuple(names.replace(",", " ").split())
    names = collect(interpreter, names)
    defaults = collect(interpreter, given.get("defaults") or ())
    certain = isinstance(names, tuple) and all(isinstance(item, str) for item in names)
    if not isinstance(name, str) or not certain or isinstance(defaults, Unknown) or given.open:
        return Unknown(Why.RESULT(function="namedtuple"))
    assert isinstance(names, tuple)
    fields = tuple(map(str, names))
    slots = dict(zip(fields[len(fields) - len(defaults) :], defaults, strict=False))
    cls = AbstractClass(slots, name, (Lib("typing.NamedTuple"),), is_data=True)
    cls.fields = fields
    return cls


# Functions made of others.


def _reduce(interpreter: Interpreter, given: Arguments) -> Value:
    function, source, value = (given.get("", place, MISSING) for place in range(3))
    unknown: Unknown | None = None

    def fold(item: Value) -> None:
        nonlocal value
        value = item if value is MISSING else interpreter.call(function, Arguments([value, item]))

    unknown = iteration.maybe_once(interpreter, source, fold)
    return Unknown(unknown.why) if unknown else value


def _getter(name: str) -> Call:
    """Return what makes a function of the operator module that gets something of its argument."""

    def make(interpreter: Interpreter, given: Arguments) -> Value:
        keywords = tuple(given.keywords.items())
        return Partial(Lib(f"operator.{name} of"), tuple(given.positional), keywords)

    return make


def _call_method(interpreter: Interpreter, given: Arguments) -> Value:
    name, *arguments, owner = given.positional
    if not isinstance(name, str):
        return Unknown(Why.UNKNOWN_ATTRIBUTE())
    method = attributes.read(interpreter, owner, name)
    return interpreter.call(method, Arguments(arguments, given.keywords))


def _get_attributes(interpreter: Interpreter, given: Arguments) -> Value:
    *paths, owner = given.positional
    found = []
    for path in paths:
        value = owner
        if not isinstance(path, str):
            return Unknown(Why.UNKNOWN_ATTRIBUTE())
        for name in path.split("."):
            value = attributes.read(interpreter, value, name)
        found.append(value)
    return found[0] if len(found) == 1 else tuple(found)


def _get_items(interpreter: Interpreter, given: Arguments) -> Value:
    *keys, owner = given.positional
    found = [items.read_item(interpreter, owner, key) for key in keys]
    return found[0] if len(found) == 1 else tuple(found)


def _operator(op: ast.operator) -> Call:
    def call(interpreter: Interpreter, given: Arguments) -> Value:
        return operators.binary(interpreter, op, given.get("", 0), given.get("", 1))

    return call


def _method(interpreter: Interpreter, given: Arguments) -> Value:
    function, owner = given.get("", 0), given.get("", 1)
    if isinstance(function, Function):
        return Bound(owner, function)
    return Partial(function, (owner,), ())


def _kept_results(interpreter: Interpreter, given: Arguments) -> Value:
    """Return a function that ``functools.cache`` calls once for each of its arguments."""
    function = given.get("user_function", 0)
    if function is None or isinstance(function, (bool, int)):
        return Lib("functools.cache")
    return Partial(Lib("functools.cache of"), (function, AbstractDict()), ())


def _kept_result(interpreter: Interpreter, given: Arguments) -> Value:
    function, results, *arguments = given.positional
    assert isinstance(results, AbstractDict)  # as _kept_results makes it
    named = tuple(item for pair in sorted(given.keywords.items()) for item in pair)
    key = (*arguments, *named)
    if given.open or any(isinstance(item, Unknown) for item in key):
        return interpreter.call(function, Arguments(arguments, given.keywords, given.open))
    if key not in results.slots:
        value = interpreter.call(function, Arguments(arguments, given.keywords))
        interpreter.store.put(results.slots, key, value)
    return results.slots[key]


def _deque(interpreter: Interpreter, given: Arguments) -> Value:
    found = collect(interpreter, given.get("iterable", 0, ()))
    length = given.get("maxlen", 1)
    if length is not None and isinstance(found, tuple):
        found = found[-length:] if isinstance(length, int) and length else ()
    return AbstractList.of(found)


def _best(interpreter: Interpreter, given: Arguments, *, last: bool, name: str) -> Value:
    """Return ``min`` or ``max``, with a key or a default."""
    several = len(given.positional) > 1
    found = tuple(given.positional) if several else collect(interpreter, given.get("", 0))
    if isinstance(found, Unknown) or given.open:
        return Unknown(Why.RESULT(function=name))
    if not found:
        return given.keywords.get("default", Unknown(Why.RESULT(function=name)))
    function = given.keywords.get("key")
    keys = found
    if function is not None:
        keys = tuple(interpreter.call(function, Arguments([item])) for item in found)
    keys = tuple(map(operators.as_constant, keys))
    if not is_constant(keys):
        unknown = next((key for key in keys if isinstance(key, Unknown)), None)
        return Unknown(unknown.why if unknown else Why.RESULT(function=name))
    places = range(len(keys))
    place = constants.known(max if last else min, places, key=keys.__getitem__)
    return found[place] if isinstance(place, int) else place


_OPERATORS: dict[str, ast.operator] = {
    "add": ast.Add(),
    "mul": ast.Mult(),
    "or_": ast.BitOr(),
    "sub": ast.Sub(),
    "truediv": ast.Div(),
}
STANDARD: dict[str, Call] = {
    "argparse.ArgumentParser": command_line.make_parser,
    "ast.literal_eval": _parser("literal_eval", ast.literal_eval),
    "collections.deque": _deque,
    "collections.namedtuple": _named_tuple,
    "copy.replace": _replace,
    "dataclasses.asdict": _asdict,
    "dataclasses.astuple": _astuple,
    "dataclasses.fields": _fields,
    "dataclasses.replace": _replace,
    "functools.cache": _kept_results,
    "functools.cache of": _kept_result,
    "functools.lru_cache": _kept_results,
    "functools.reduce": _reduce,
    "json.loads": _parser("json.loads", _json),
    "max": partial(_best, last=True, name="max"),
    "min": partial(_best, last=False, name="min"),
    "operator.attrgetter": _getter("attrgetter"),
    "operator.attrgetter of": _get_attributes,
    "operator.itemgetter": _getter("itemgetter"),
    "operator.itemgetter of": _get_items,
    "operator.methodcaller": _getter("methodcaller"),
    "operator.methodcaller of": _call_method,
    "textwrap.dedent": _dedent,
    "tomllib.loads": _parser("tomllib.loads", _toml),
    "types.MappingProxyType": containers.make_dict,
    "types.MethodType": _method,
    "yaml.full_load": _parser("yaml.full_load", _yaml),
    "yaml.load": _parser("yaml.load", _yaml),
    "yaml.safe_load": _parser("yaml.safe_load", _yaml),
    **{f"operator.{name}": _operator(op) for name, op in _OPERATORS.items()},
}
