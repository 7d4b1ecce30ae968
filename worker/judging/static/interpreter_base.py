"""Follow a program's paths without running it: branches, early exits, a budget for all of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from worker.judging.reasons.codes import Reason, Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.undo_log import Pending, Store
from worker.judging.static.values import (
    ITEMS,
    OPEN,
    SLOT,
    AbstractDict,
    AbstractList,
    AbstractObject,
    Bound,
    Component,
    Function,
    Helper,
    Instance,
    Lib,
    Names,
    Part,
    Partial,
    Pipeline,
    Scheduler,
    Scope,
    Unknown,
    Value,
    join,
    reachable,
)

MAX_STEPS = 150_000
MAX_DEPTH = 150


# What unknown code can change of the objects it is given; a pipeline's class and model it cannot.
CHANGEABLE: dict[type[AbstractObject], tuple[str, ...]] = {
    Pipeline: ("scheduler", "dtype", "device", "settings", "replaced", "tgated"),
    Component: ("changed",),
    Scheduler: (OPEN,),
    Helper: ("params",),
}


class Abandoned(Exception):  # noqa: N818  # not an error of anyone's
    """The file asks for more work than is worth spending on it; nothing about it is known."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Raised(Exception):  # noqa: N818  # an event in the program that is read
    """The program certainly raises, or leaves, here."""

    def __init__(self, exception: str, reason: Reason) -> None:
        super().__init__(exception, reason)
        self.exception = exception  # the exception class's name
        self.reason = reason


@dataclass(frozen=True)
class Done:
    """How a block or expression ended: next, return, break or continue; and its value."""

    kind: str = "next"
    value: Value = None


NEXT = Done()


class Machine(ABC):
    """What every part of the reader shares: the store, the paths, the budget, the findings."""

    def __init__(self) -> None:
        self.store = Store(self.spend)
        self.world = Names()  # call: the latest pipeline call
        self.overridden = Names()  # attributes that the file sets on modules and library classes
        self.built: list[Pipeline] = []
        self.entered: set[int] = set()  # ids of function and class nodes that some path used
        self.notes: dict[Reason, None] = {}  # in order, each once
        self.module = Scope()
        self.steps = 0.0
        self.depth = 0

    @abstractmethod
    def call(self, function: Value, arguments: Arguments) -> Value:
        """Call a value and return what it returns."""

    def spend(self, steps: float = 1) -> None:
        """Count work.

        Raises:
            Abandoned: the budget is used up.
        """
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise Abandoned(Why.TOO_MUCH_WORK())

    def taint(self, values: list[Value], why: Reason) -> None:
        """Forget of everything reachable what code that cannot be read may have changed."""
        put, unknown = self.store.put, Unknown(Why.MAY_BE_CHANGED(why))
        for thing in reachable(values):
            self.spend(SLOT * len(thing.slots))
            if isinstance(thing, AbstractList):
                put(thing.slots, ITEMS, unknown)
            elif isinstance(thing, AbstractDict):
                for key in [*thing.slots, OPEN]:
                    put(thing.slots, key, unknown)
            elif isinstance(thing, Instance):
                put(thing.slots, OPEN, unknown)
            else:
                for slot in CHANGEABLE.get(type(thing), ()):
                    put(thing.slots, slot, unknown)

    def may_call(self, given: list[Value], why: Reason) -> None:
        """Follow the functions and pipelines that something else is given, and may call."""
        part = next((value for value in given if isinstance(value, Part)), None)
        for value in given:
            method = getattr(value, "method", getattr(value, "name", ""))
            if (
                isinstance(value, (Function, Partial, Pipeline))
                or (isinstance(value, Bound) and isinstance(method, Function))
                or (isinstance(value, Part) and method in ("__call__", "tgate"))
            ):
                unknown = Arguments(open=part.inner() if part else Unknown(Why.GIVEN_BY(why)))
                self.branch(Unknown(why), partial(self._called, value, unknown), lambda: NEXT)

    def _called(self, function: Value, arguments: Arguments) -> Done:
        self.call(function, arguments)
        return NEXT

    def forget_names(self, why: Reason) -> None:
        """Forget every name of the module: code that cannot be read may have set it."""
        self.spend(SLOT * len(self.module.names))
        for name in list(self.module.names):
            self.store.put(self.module.names, name, Unknown(Why.MAY_BE_CHANGED(why)))

    def note(self, remark: Reason) -> None:
        if len(self.notes) < 20:
            self.notes[remark] = None

    def branch(self, test: Unknown, first: Callable[[], Done], second: Callable[[], Done]) -> Done:
        """Follow two paths of which one is taken, and join what they leave behind.

        A path that raises is taken as not chosen: a file is judged by what it does when it runs
        through. A path that leaves the block early waits in the store for the end of its loop or
        function, and the other goes on.
        """
        # Of tests within tests the innermost says most.
        told = test.why if test.why.conditional else Why.DEPENDS_ON(test.why)
        why = Unknown(told, test.key)
        store, mark = self.store, self.store.mark()
        waiting = len(store.pending)
        try:
            left: Done | None = first()
        except Raised:
            left = None
        delta = store.rollback(mark, waiting)
        waiting = len(store.pending)
        try:
            right = second()
        except Raised:
            if left is None:
                raise
            store.rollback(mark, waiting)
            store.apply(delta)
            return left
        if left is None:
            return right
        if left.kind == right.kind:
            store.merge(mark, delta, why)
            return Done(left.kind, join(left.value, right.value, why, self.spend))
        if left.kind != "next":
            store.pending.append(Pending(left.kind, mark, delta, left.value, why))
            return right
        other = store.rollback(mark, waiting)
        store.apply(delta)
        store.pending.append(Pending(right.kind, mark, other, right.value, why))
        return left

    def settle(self, kinds: frozenset[str], waiting_from: int, value: Value = None) -> Value:
        """Join the waiting paths of these kinds into the present one; return the joined value."""
        waiting = self.store.pending[waiting_from:]
        del self.store.pending[waiting_from:]
        for path in waiting:
            if path.kind in kinds:
                self.store.merge(path.mark, path.delta, path.why)
                value = join(value, path.value, path.why, self.spend)
            else:
                self.store.pending.append(path)
        return value

    def switch(self, kind: str, waiting_from: int, leaving: Done | None) -> Pending | None:
        """Leave the present path for a waiting one of this kind; None if none waits.

        The present path then waits in its place, unless it is None because it raised.
        """
        store = self.store
        for index in range(waiting_from, len(store.pending)):
            path = store.pending[index]
            if path.kind != kind:
                continue
            del store.pending[index]
            delta = store.rollback(path.mark, waiting_from)
            store.apply(path.delta)
            if leaving is not None:
                store.pending.append(
                    Pending(leaving.kind, path.mark, delta, leaving.value, path.why)
                )
            return path
        return None


def describe(value: Value) -> str:
    """Name a callable or value for a note."""
    if isinstance(value, Lib):
        return value.path.removeprefix("builtins.")
    return str(getattr(value, "name", type(value).__name__))
