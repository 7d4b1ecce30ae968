"""Lists and dictionaries: how they are made, and their methods."""

from __future__ import annotations

from typing import Any

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import may_call
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.joining import shallow
from worker.judging.static.objects import (
    AbstractDict,
    AbstractList,
    Lazy,
    SchedulerConfig,
    element,
)
from worker.judging.static.operations import constants, items
from worker.judging.static.operations.iteration import collect
from worker.judging.static.values import (
    MAX_LENGTH,
    Unknown,
    Value,
    is_constant,
)


def make_dict(interpreter: Interpreter, given: Arguments) -> AbstractDict:
    """Return ``dict(…)``."""
    entries = AbstractDict()
    if given.positional:
        _fill(interpreter, entries, given.positional[0])
    entries.slots.update(given.keywords | (given.spread or {}))
    if given.open:
        entries.slots[AbstractDict.open] = given.open
    return entries


def make_range(given: Arguments) -> Value:
    """Return ``range(…)`` as a list."""
    bounds = given.positional
    if not bounds or not all(isinstance(bound, int) for bound in bounds):
        return Unknown(Why.UNKNOWN_RANGE())
    numbers = constants.known(range, *bounds)
    if not isinstance(numbers, range) or len(numbers) > 10_000:
        return Unknown(Why.LONG_RANGE())
    return AbstractList.of(tuple(numbers))


def sorted_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``sorted(…)``, its key function called on every item."""
    items, key = collect(interpreter, given.get("", 0)), given.get("key")
    if isinstance(items, Unknown):
        may_call(interpreter, [key], Why.UNKNOWN_SORT())
        return element(items)
    keys = (
        items if key is None else tuple(interpreter.call(key, Arguments([item])) for item in items)
    )
    reverse = given.get("reverse", None, False)
    if not is_constant(keys) or not isinstance(reverse, int):
        return Unknown(Why.UNKNOWN_ORDER())
    places = range(len(items))
    order = constants.known(sorted, places, key=keys.__getitem__, reverse=reverse)
    found = constants.iterate(order)
    if isinstance(found, Unknown):
        return found
    return AbstractList.of(tuple(items[place] for place in found if isinstance(place, int)))


def make_set(items: tuple[Value, ...] | Unknown) -> AbstractList:
    """Return a set's items, in the order in which they were given."""
    if isinstance(items, Unknown):
        return AbstractList.of(items)
    if is_constant(items):
        return AbstractList.of(tuple(dict.fromkeys(items)))
    return AbstractList.of(Unknown(Why.SET_OF_OBJECTS()))


def _fill(interpreter: Interpreter, entries: AbstractDict, source: Value) -> None:
    pairs = None
    if isinstance(source, (AbstractList, Lazy, tuple)):
        pairs = collect(interpreter, source)
    if pairs is None:
        items.absorb(entries.slots, source)
        return
    for pair in pairs if isinstance(pairs, tuple) else ():
        if isinstance(pair, tuple) and len(pair) == 2 and is_constant(pair[0]):
            entries.slots[pair[0]] = pair[1]
        else:
            entries.slots[AbstractDict.open] = Unknown(Why.UNKNOWN_ENTRY())
    if isinstance(pairs, Unknown):
        entries.slots[AbstractDict.open] = pairs


def dict_method(
    interpreter: Interpreter, entries: AbstractDict | SchedulerConfig, method: str, given: Arguments
) -> Value:
    """Call a dictionary's method."""
    key = given.get("", 0)
    store = interpreter.store
    if method in ("get", "pop", "setdefault"):
        return _take(interpreter, entries, method, given)
    if method == "update":
        for name, value in make_dict(interpreter, given).slots.items():
            store.put(entries.slots, name, value)
        return None
    if method in ("copy", "to_dict"):
        return AbstractDict(dict(entries.slots))
    if method in ("items", "values", "keys"):
        return _view(entries, method)
    if method == "clear":
        for name in list(entries.slots):
            store.drop(entries.slots, name)
        return None
    if is_constant(key):
        return Unknown(Why.DICT_METHOD_RESULT(method=method, key=key))
    return Unknown(Why.RESULT(function=method))


def _take(
    interpreter: Interpreter, entries: AbstractDict | SchedulerConfig, method: str, given: Arguments
) -> Value:
    key = given.get("", 0)
    found = constants.index(entries, key)
    if entries.is_closed and is_constant(key) and key not in entries.slots:
        found = given.get("", 1)
        if method == "setdefault":
            interpreter.store.put(entries.slots, key, found)
    elif method == "pop" and is_constant(key):
        interpreter.store.drop(entries.slots, key)
    return found


def _view(entries: AbstractDict | SchedulerConfig, method: str) -> Value:
    if not entries.is_closed:
        return constants.unknown_entry(entries)
    pairs = tuple(entries.slots.items())
    views: dict[str, Any] = {
        "items": pairs,
        "keys": tuple(name for name, _ in pairs),
        "values": tuple(value for _, value in pairs),
    }
    return AbstractList.of(views[method])


def list_method(
    interpreter: Interpreter, values: AbstractList, method: str, given: Arguments
) -> Value:
    """Call a list's method."""
    items = values.items
    if method == "copy":
        return shallow(values)
    if method in ("index", "count", "union", "intersection", "difference"):
        return Unknown(Why.RESULT(function=method))
    changed: tuple[Value, ...] | Unknown = Unknown(Why.LIST_CHANGED(method=method))
    result: Value = None
    if isinstance(items, tuple):
        interpreter.spend(len(items) // 50)
        changed = _changed(interpreter, items, method, given)
        if method == "pop":
            result = items[-1] if items and not given.positional else changed
            changed = items[:-1] if items and not given.positional else changed
    if isinstance(changed, tuple) and len(changed) > MAX_LENGTH:
        changed = Unknown(Why.LONG_LIST())
    interpreter.store.assign(values, AbstractList.items, changed)
    return result


def _changed(
    interpreter: Interpreter, items: tuple[Value, ...], method: str, given: Arguments
) -> tuple[Value, ...] | Unknown:
    """Return a list's items after a method that returns nothing."""
    first = given.get("", 0)
    if method in ("append", "add"):
        return (*items, first)
    if method == "extend":
        more = collect(interpreter, first)
        return more if isinstance(more, Unknown) else (*items, *more)
    if method == "insert" and isinstance(first, int):
        return (*items[:first], given.get("", 1), *items[first:])
    if method == "clear":
        return ()
    return items[::-1] if method == "reverse" else Unknown(Why.LIST_CHANGED(method=method))
