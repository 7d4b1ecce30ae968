"""Iterators: nothing of one happens before something asks for its items, and each is given once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import zip_longest

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import doubt
from worker.judging.static.interpreter.interpreter import Enough, Interpreter, Raised
from worker.judging.static.objects import AbstractClass, AbstractList, Instance, Lazy, element
from worker.judging.static.operations import constants, operators
from worker.judging.static.operations.instances import call_special
from worker.judging.static.scopes import Names, Partial
from worker.judging.static.undo_log import Change
from worker.judging.static.values import MISSING, Lib, Unknown, Value

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
        doubt(interpreter, lambda: iterator.produce(_ignore), Why.PARTLY_TAKEN())
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


def _ignore(item: Value) -> None:
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


def map_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``map(function, …)``."""
    function = given.get("", 0)

    def produce(visit: Visit) -> Unknown | None:
        return _rows(
            interpreter,
            given.positional[1:],
            lambda row: visit(interpreter.call(function, Arguments(list(row)))),
        )

    return lazily(produce)


def starmap_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``itertools.starmap(function, rows)``."""
    function = given.get("", 0)

    def produce(visit: Visit) -> Unknown | None:
        def run(row: Value) -> None:
            items = constants.iterate(row)
            several = Arguments(open=items) if isinstance(items, Unknown) else Arguments([*items])
            visit(interpreter.call(function, several))

        return maybe_once(interpreter, given.get("", 1), run)

    return lazily(produce)


def maybe_once(interpreter: Interpreter, source: Value, run: Visit) -> Unknown | None:
    """Visit every item; where these are not known, what a visit does may happen or not."""
    why = each(interpreter, source, run)
    if why is not None:
        doubt(interpreter, lambda: run(element(why)), why.why)
    return why


def _rows(
    interpreter: Interpreter, columns: list[Value], visit: Callable[[Items], None]
) -> Unknown | None:
    """Visit what ``zip`` gives of these columns."""
    if len(columns) == 1:
        return maybe_once(interpreter, columns[0], lambda item: visit((item,)))
    lengths = [len(items) for items in map(constants_of, columns) if items]
    known = [peek(interpreter, column, min(lengths, default=MAX_ITEMS)) for column in columns]
    unknown = next((items for items in known if isinstance(items, Unknown)), None)
    if unknown is not None:
        row = tuple(element(unknown) for _ in columns)
        doubt(interpreter, lambda: visit(row), unknown.why)
        return unknown
    for items in zip(*(items for items in known if isinstance(items, tuple)), strict=False):
        visit(items)
    return None


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


def zip_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``zip(…)``."""
    return lazily(lambda visit: _rows(interpreter, given.positional, visit))


def filter_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``filter(function, items)``."""
    return _filtered(interpreter, given, wanted=True)


def filter_false_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``itertools.filterfalse(function, items)``."""
    return _filtered(interpreter, given, wanted=False)


def _filtered(interpreter: Interpreter, given: Arguments, *, wanted: bool) -> Value:
    function = given.get("", 0)

    def produce(visit: Visit) -> Unknown | None:
        failed: Unknown | None = None

        def run(item: Value) -> None:
            nonlocal failed
            kept = item if function is None else interpreter.call(function, Arguments([item]))
            answer = operators.truth(interpreter, kept)
            if isinstance(answer, Unknown):
                failed = Unknown(answer.why)
                doubt(interpreter, lambda: visit(item), answer.why)
            elif answer is wanted:
                visit(item)

        return maybe_once(interpreter, given.get("", 1), run) or failed

    return lazily(produce)


def enumerate_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``enumerate(items, start)``."""
    start = given.get("start", 1, 0)

    def produce(visit: Visit) -> Unknown | None:
        if not isinstance(start, int):
            return Unknown(Why.UNKNOWN_START())
        number = start

        def run(item: Value) -> None:
            nonlocal number
            number += 1
            visit((number - 1, item))

        return each(interpreter, given.get("iterable", 0), run)

    return lazily(produce)


def reversed_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``reversed(items)``."""

    def produce(visit: Visit) -> Unknown | None:
        items = collect(interpreter, given.get("", 0))
        if isinstance(items, Unknown):
            return items
        return each(interpreter, items[::-1], visit)

    return lazily(produce)


def chain_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``itertools.chain(…)``."""
    return _chained(interpreter, tuple(given.positional))


def chain_of_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``itertools.chain.from_iterable(…)``."""
    return _chained(interpreter, given.get("", 0))


def _chained(interpreter: Interpreter, sources: Value) -> Value:
    def produce(visit: Visit) -> Unknown | None:
        failed: Unknown | None = None

        def run(source: Value) -> None:
            nonlocal failed
            failed = each(interpreter, source, visit) or failed

        return each(interpreter, sources, run) or failed

    return lazily(produce)


def islice_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``itertools.islice(items, …)``."""
    bounds = given.positional[1:]

    def produce(visit: Visit) -> Unknown | None:
        numbers = [bound for bound in bounds if bound is None or isinstance(bound, int)]
        if not numbers or len(numbers) < len(bounds):
            return Unknown(Why.SLICE())
        wanted = slice(*numbers)
        stop = wanted.stop
        if stop is not None and stop <= 0:
            return None
        items = take(
            interpreter,
            given.get("", 0),
            lambda items: stop is not None and len(items) >= stop,
            closes=False,
        )
        return items if isinstance(items, Unknown) else each(interpreter, items[wanted], visit)

    return lazily(produce)


def decide(decisive: bool) -> Callable[[Interpreter, Arguments], Value]:
    """Return ``any`` (True) or ``all`` (False): they look no further than the item that decides."""

    def call(interpreter: Interpreter, given: Arguments) -> Value:
        answers: list[bool | Unknown] = []

        def decided(items: list[Value]) -> bool:
            answers.append(operators.truth(interpreter, items[-1]))
            return answers[-1] is decisive or isinstance(answers[-1], Unknown)

        source = given.get("", 0)
        mark = interpreter.store.mark()
        items = take(interpreter, source, decided)
        last = answers[-1] if answers else None
        if isinstance(last, Unknown) and isinstance(source, Lazy):
            # Whether the rest is looked at depends on it.
            interpreter.forget_since(mark, last.why)
            doubt(interpreter, lambda: source.produce(_ignore), last.why)
            return Unknown(last.why)
        if isinstance(items, Unknown):
            return Unknown(items.why)
        if isinstance(last, Unknown):
            rest = [operators.truth(interpreter, item) for item in constants_of(source)]
            return decisive if decisive in rest else Unknown(last.why)
        return last if last is decisive else not decisive

    return call


def constants_of(source: Value) -> Items:
    """Return the items of a container that is known."""
    items = constants.iterate(source)
    return items if isinstance(items, tuple) else ()


def as_list(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``list(items)``."""
    return AbstractList.of(collect(interpreter, given.get("", 0, ())))


def as_tuple(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``tuple(items)``."""
    return collect(interpreter, given.get("", 0, ()))


def awaited(interpreter: Interpreter, value: Value) -> Value:
    """Return what awaiting a value gives: a coroutine of the file runs now."""
    if not isinstance(value, Lazy):
        return value
    results = collect(interpreter, value)
    if isinstance(results, Unknown):
        return results
    return results[-1] if results else None


def run_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``asyncio.run(coroutine)``."""
    return awaited(interpreter, given.get("main", 0))


def gather_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``asyncio.gather(…)``, whose coroutines run when it is awaited."""

    def produce(visit: Visit) -> None:
        visit(AbstractList.of(tuple(awaited(interpreter, item) for item in given.positional)))

    return lazily(produce)


def started_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``asyncio.create_task(coroutine)``: it may run, or the loop may end before."""
    coroutine = given.get("coro", 0)
    if isinstance(coroutine, Lazy):
        doubt(interpreter, lambda: coroutine.produce(_ignore), Why.FUNCTION(path="create_task"))
    return Unknown(Why.RESULT(function="create_task"))


def count_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``itertools.count(start, step)``."""
    start, step = given.get("start", 0, 0), given.get("step", 1, 1)

    def produce(visit: Visit) -> Unknown | None:
        if not isinstance(start, int) or not isinstance(step, int):
            return Unknown(Why.UNKNOWN_START())
        for turn in range(MAX_ITEMS):
            visit(start + turn * step)
        return Unknown(Why.LONG_LOOP())

    return lazily(produce)


def repeat_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``itertools.repeat(value, times)``."""
    times = given.get("times", 1, MAX_ITEMS)

    def produce(visit: Visit) -> Unknown | None:
        if not isinstance(times, int):
            return Unknown(Why.LONG_LOOP())
        for _ in range(min(times, MAX_ITEMS)):
            visit(given.get("object", 0))
        return Unknown(Why.LONG_LOOP()) if times >= MAX_ITEMS else None

    return lazily(produce)


def zip_longest_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``itertools.zip_longest(…)``."""
    filling = given.get("fillvalue")

    def produce(visit: Visit) -> Unknown | None:
        columns = [collect(interpreter, value) for value in given.positional]
        for column in columns:
            if isinstance(column, Unknown):
                return column
        known = [column for column in columns if isinstance(column, tuple)]
        return each(interpreter, tuple(zip_longest(*known, fillvalue=filling)), visit)

    return lazily(produce)


def pool_map_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return what a pool of threads maps: every call is made at once."""
    mapped = map_call(interpreter, given)
    return iter_call(interpreter, Arguments([collect(interpreter, mapped)]))


def submit_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return a future of a pool of threads, whose function runs now."""
    result = interpreter.call(given.get("fn", 0), given.without_first())
    future = Instance(Names(), AbstractClass({}, "Future"))
    future.slots["result"] = Partial(Lib("typing.cast"), (None, result), ())
    return future


def call_method(interpreter: Interpreter, iterator: Lazy, method: str, given: Arguments) -> Value:
    """Call a method of a generator."""
    if method in ("__next__", "send"):
        return next_call(interpreter, Arguments([iterator]))
    if method in ("__iter__", "__aiter__", "__enter__"):
        return iterator
    doubt(interpreter, lambda: iterator.produce(_ignore), Why.RESULT(function=method))
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
