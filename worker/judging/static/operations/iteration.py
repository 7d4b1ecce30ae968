"""Iterators: nothing of one happens before something asks for its items, and each is given once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import doubt
from worker.judging.static.interpreter.interpreter import Enough, Interpreter, Raised
from worker.judging.static.objects import AbstractClass, AbstractList, Instance, Lazy, element
from worker.judging.static.operations import constants
from worker.judging.static.operations.instances import call_special
from worker.judging.static.scopes import Names
from worker.judging.static.undo_log import Change
from worker.judging.static.values import MISSING, Unknown, Value

MAX_ITEMS = 900  # that are taken one by one
Visit = Callable[[Value], None]
Items = tuple[Value, ...]


def each(interpreter: Interpreter, value: Value, visit: Visit) -> Unknown | None:
    """Visit what a loop over a value sees, one after the other.

    Returns:
        Why the items, or how many there are, are not known; None if they are.
    """
    if isinstance(value, AbstractClass) and value.is_enum:
        members = value.slots.values()
        value = tuple(member for member in members if is_member(member, value))
    if isinstance(value, Instance):
        iterator = call_special(interpreter, value, "__iter__")
        if iterator is MISSING and value.cls.is_named_tuple:
            return each(interpreter, named_items(value), visit)
        if iterator is MISSING:
            return _each_by_number(interpreter, value, visit)
        if isinstance(iterator, Instance):
            return _each_by_next(interpreter, iterator, visit)
        return each(interpreter, iterator, visit)
    if isinstance(value, Lazy):
        return draw(interpreter, value, visit)
    items = constants.iterate(value)
    if isinstance(items, Unknown):
        return items
    for item in items:
        visit(item)
    return None


def is_member(value: Value, cls: AbstractClass) -> bool:
    """Whether a value is a member of an enumeration."""
    return isinstance(value, Instance) and value.cls is cls


def named_items(value: Instance) -> Items:
    """Return the items of a named tuple."""
    return tuple(value.slots[name] for name in value.cls.all_fields())


def _each_by_next(interpreter: Interpreter, iterator: Instance, visit: Visit) -> Unknown | None:
    for _ in range(MAX_ITEMS):
        try:
            item = call_special(interpreter, iterator, "__next__")
        except Raised as error:
            if error.exception != "StopIteration":
                raise
            return None
        if item is MISSING or isinstance(item, Unknown):
            break
        visit(item)
    return Unknown(Why.LOOP_OVER_OBJECT())


def _each_by_number(interpreter: Interpreter, value: Instance, visit: Visit) -> Unknown | None:
    for place in range(MAX_ITEMS):
        try:
            item = call_special(interpreter, value, "__getitem__", place)
        except Raised as error:
            if error.exception != "IndexError":
                raise
            return None
        if item is MISSING or isinstance(item, Unknown):
            break
        visit(item)
    return Unknown(Why.LOOP_OVER_OBJECT())


def draw(interpreter: Interpreter, iterator: Lazy, visit: Visit) -> Unknown | None:
    """Visit all items that an iterator has left.

    A visit may raise ``Enough``. What was taken until then can be taken again unseen if taking it
    changed nothing; else nobody knows what taking the rest would do.
    """
    taken = iterator.taken
    if taken is None:
        return None
    if not isinstance(taken, int):
        doubt(interpreter, lambda: iterator.produce(ignore), Why.PARTLY_TAKEN())
        return Unknown(Why.PARTLY_TAKEN())
    store = interpreter.store
    mark, born = store.mark(), Names.count()
    depth, waiting = interpreter.branching, len(store.pending)
    given = 0
    failed: Unknown | None = None

    def emit(item: Value) -> None:
        nonlocal given, failed
        given += 1
        interpreter.spend()
        if interpreter.branching > depth or len(store.pending) > waiting:
            failed = Unknown(Why.GENERATOR_RESULT())
        if given > taken:
            visit(item)

    try:
        why = iterator.produce(emit)
    except Enough:
        again = failed is None and changes_nothing(store.log[mark:], born)
        store.assign(iterator, Lazy.taken, given if again else Unknown(Why.PARTLY_TAKEN()))
        raise
    store.assign(iterator, Lazy.taken, None)
    return failed or why


def ignore(item: Value) -> None:
    """Visit an item and do nothing with it."""


def changes_nothing(log: list[Change], born: int) -> bool:
    """Whether these changes are all of names that were made after that many others."""
    return all(isinstance(slots, Names) and slots.number >= born for slots, _, _ in log)


def collect(interpreter: Interpreter, value: Value) -> Items | Unknown:
    """Return all items of a value, those of an iterator taken out of it."""
    if not isinstance(value, (Lazy, Instance, AbstractClass)):
        return constants.iterate(value)
    items: list[Value] = []
    why = each(interpreter, value, items.append)
    return tuple(items) if why is None else element(why)


def take(
    interpreter: Interpreter,
    value: Value,
    enough: Callable[[list[Value]], bool],
    *,
    closes: bool = True,
) -> Items | Unknown:
    """Return items of a value until there are enough, or no more.

    Args:
        interpreter: the interpreter.
        value: what is looped over.
        enough: whether the items so far are all that is wanted.
        closes: whether what gives the items ends with that, its ``finally`` blocks included.
    """
    items: list[Value] = []
    depth, waiting = interpreter.branching, len(interpreter.store.pending)
    mark = interpreter.store.mark()
    uncertain = False

    def visit(item: Value) -> None:
        nonlocal uncertain
        items.append(item)
        if not enough(items):
            return
        if interpreter.branching == depth and len(interpreter.store.pending) == waiting:
            raise Enough(closes=closes)
        uncertain = True

    try:
        why = each(interpreter, value, visit)
    except Enough:
        return tuple(items)
    if uncertain:
        interpreter.forget_since(mark, Why.PARTLY_TAKEN())
        return Unknown(Why.PARTLY_TAKEN())
    return tuple(items) if why is None else element(why)


def next_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``next(iterator)``, or its default."""
    iterator = given.get("", 0)
    if isinstance(iterator, Instance):
        item = call_special(interpreter, iterator, "__next__")
        return Unknown(Why.RESULT(function="next")) if item is MISSING else item
    if not isinstance(iterator, Lazy):
        return element(iterator) if isinstance(iterator, Unknown) else Unknown(Why.NOT_CALLABLE())
    items = take(interpreter, iterator, lambda items: True, closes=False)
    if isinstance(items, Unknown):
        return element(items)
    if items:
        return items[0]
    if len(given.positional) > 1:
        return given.positional[1]
    raise Raised("StopIteration", Why.NO_MORE_ITEMS())


def lazily(produce: Callable[[Visit], Unknown | None]) -> Lazy:
    """Return an iterator that gives what ``produce`` visits."""
    return Lazy({}, produce)


def iter_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``iter(value)``; of a progress bar too."""
    value = given.get("iterable", 0)
    if len(given.positional) > 1 and given.positional[1] is not None:
        return Unknown(Why.RESULT(function="iter"))
    return value if isinstance(value, Lazy) else lazily(partial(each, interpreter, value))


def maybe_once(interpreter: Interpreter, source: Value, run: Visit) -> Unknown | None:
    """Visit every item; where these are not known, what a visit does may happen or not."""
    why = each(interpreter, source, run)
    if why is not None:
        doubt(interpreter, lambda: run(element(why)), why.why)
    return why


def peek(interpreter: Interpreter, source: Value, limit: int = MAX_ITEMS) -> Items | Unknown:
    """Return items of something that may be left before its end, if giving them changes nothing."""
    if not isinstance(source, (Lazy, Instance)):
        return constants.iterate(source)
    mark, born = interpreter.store.mark(), Names.count()
    items = take(interpreter, source, lambda items: len(items) >= limit)
    log = interpreter.store.log[mark:]
    if isinstance(source, Lazy):
        log = [change for change in log if change[0] is not source.slots]
        interpreter.store.assign(source, Lazy.taken, Unknown(Why.PARTLY_TAKEN()))
    if not changes_nothing(log, born):
        interpreter.forget_since(mark, Why.PARTLY_TAKEN())
        return Unknown(Why.PARTLY_TAKEN())
    is_cut = isinstance(items, tuple) and len(items) >= MAX_ITEMS
    return Unknown(Why.LONG_LOOP()) if is_cut else items


def constants_of(source: Value) -> Items:
    """Return the items of a container that is known."""
    items = constants.iterate(source)
    return items if isinstance(items, tuple) else ()


def awaited(interpreter: Interpreter, value: Value) -> Value:
    """Return what awaiting a value gives: a coroutine of the file runs now."""
    if not isinstance(value, Lazy):
        return value
    results = collect(interpreter, value)
    if isinstance(results, Unknown):
        return results
    return results[-1] if results else None


def call_method(interpreter: Interpreter, iterator: Lazy, method: str, given: Arguments) -> Value:
    """Call a method of a generator."""
    if method in ("__next__", "send"):
        return next_call(interpreter, Arguments([iterator]))
    if method in ("__iter__", "__aiter__"):
        return iterator
    if method == "__enter__":
        return next_call(interpreter, Arguments([iterator]))
    doubt(interpreter, lambda: iterator.produce(ignore), Why.RESULT(function=method))
    interpreter.store.assign(iterator, Lazy.taken, Unknown(Why.PARTLY_TAKEN()))
    return Unknown(Why.RESULT(function=method))


def consumed(interpreter: Interpreter, given: Arguments) -> Arguments:
    """Return arguments with lists in the place of iterators, as a function that takes all has them."""
    if not any(isinstance(value, Lazy) for value in given.positional):
        return given
    lists = [
        AbstractList.of(collect(interpreter, value)) if isinstance(value, Lazy) else value
        for value in given.positional
    ]
    return Arguments(lists, given.keywords, given.open, given.spread)
