"""Coroutines and pools of threads."""

from __future__ import annotations

from collections.abc import Callable

from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import doubt
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.objects import AbstractClass, AbstractList, Instance, Lazy
from worker.judging.static.operations.iteration import (
    Visit,
    awaited,
    collect,
    ignore,
    iter_call,
    lazily,
)
from worker.judging.static.operations.standard.iterators import map_call
from worker.judging.static.scopes import Names, Partial
from worker.judging.static.values import Lib, Unknown, Value

POOL = Lib("concurrent.futures.executor")  # a pool of threads: each is as good as another


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
        doubt(interpreter, lambda: coroutine.produce(ignore), Why.FUNCTION(path="create_task"))
    return Unknown(Why.RESULT(function="create_task"))


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


def _pool(interpreter: Interpreter, given: Arguments) -> Value:
    return POOL


def _shut_down(interpreter: Interpreter, given: Arguments) -> Value:
    return None


TASKS: dict[str, Callable[[Interpreter, Arguments], Value]] = {
    "asyncio.create_task": started_call,
    "asyncio.ensure_future": started_call,
    "asyncio.gather": gather_call,
    "asyncio.run": run_call,
    "asyncio.wait_for": run_call,
    "concurrent.futures.executor.map": pool_map_call,
    "concurrent.futures.executor.submit": submit_call,
    "concurrent.futures.ThreadPoolExecutor": _pool,
    "concurrent.futures.executor.shutdown": _shut_down,
    "concurrent.futures.thread.ThreadPoolExecutor": _pool,
}
