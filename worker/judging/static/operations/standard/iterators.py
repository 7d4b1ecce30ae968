"""Functions that take iterators, or make some."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from itertools import zip_longest

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import doubt
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.objects import AbstractList, Lazy, element
from worker.judging.static.operations import constants, operators
from worker.judging.static.operations.containers import make_set
from worker.judging.static.operations.instances import call_special
from worker.judging.static.operations.iteration import (
    MAX_ITEMS,
    Items,
    Visit,
    collect,
    constants_of,
    each,
    ignore,
    iter_call,
    lazily,
    maybe_once,
    next_call,
    peek,
    take,
)
from worker.judging.static.values import MISSING, Unknown, Value


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
        own = call_special(interpreter, given.get("", 0), "__reversed__")
        if own is not MISSING:
            return each(interpreter, own, visit)
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
            doubt(interpreter, lambda: source.produce(ignore), last.why)
            return Unknown(last.why)
        if isinstance(items, Unknown):
            return Unknown(items.why)
        if isinstance(last, Unknown):
            rest = [operators.truth(interpreter, item) for item in constants_of(source)]
            return decisive if decisive in rest else Unknown(last.why)
        return last if last is decisive else not decisive

    return call


def as_list(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``list(items)``."""
    return AbstractList.of(collect(interpreter, given.get("", 0, ())))


def as_tuple(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``tuple(items)``."""
    return collect(interpreter, given.get("", 0, ()))


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


def product_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``itertools.product(…)``."""
    columns = [collect(interpreter, value) for value in given.positional]
    repeat = given.get("repeat", None, 1)
    known = [items for items in columns if isinstance(items, tuple)]
    if len(known) < len(columns) or not isinstance(repeat, int) or not 0 <= repeat < 10:
        return Unknown(Why.UNKNOWN_PRODUCT())
    if math.prod(map(len, known)) ** repeat > 10_000:
        return Unknown(Why.LONG_PRODUCT())
    return _iterator(interpreter, tuple(itertools.product(*known, repeat=repeat)))


def _iterator(interpreter: Interpreter, items: tuple[Value, ...]) -> Value:
    interpreter.spend(len(items) // 4)
    return iter_call(interpreter, Arguments([items]))


def set_call(interpreter: Interpreter, given: Arguments) -> Value:
    """Return ``set(items)``."""
    return make_set(collect(interpreter, given.get("", 0, ())))


ITERATORS: dict[str, Callable[[Interpreter, Arguments], Value]] = {
    "all": decide(decisive=False),
    "any": decide(decisive=True),
    "enumerate": enumerate_call,
    "filter": filter_call,
    "frozenset": set_call,
    "iter": iter_call,
    "itertools.chain": chain_call,
    "itertools.chain.from_iterable": chain_of_call,
    "itertools.count": count_call,
    "itertools.filterfalse": filter_false_call,
    "itertools.islice": islice_call,
    "itertools.product": product_call,
    "itertools.repeat": repeat_call,
    "itertools.starmap": starmap_call,
    "itertools.zip_longest": zip_longest_call,
    "list": as_list,
    "map": map_call,
    "next": next_call,
    "reversed": reversed_call,
    "set": set_call,
    "tqdm.auto.tqdm": iter_call,
    "tqdm.tqdm": iter_call,
    "tuple": as_tuple,
    "zip": zip_call,
}
