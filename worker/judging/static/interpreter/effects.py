"""What code that cannot be read may do to the values it is given."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial

from worker.judging.reasons.codes import Reason, Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.interpreter import NEXT, Done, Interpreter
from worker.judging.static.joining import reachable
from worker.judging.static.objects import (
    AbstractDict,
    AbstractList,
    AbstractObject,
    Component,
    Helper,
    Instance,
    Made,
    Part,
    Pipeline,
    Scheduler,
)
from worker.judging.static.scopes import Bound, Function, Partial
from worker.judging.static.values import SLOT, Unknown, Value

# What unknown code can change of the objects it is given; a pipeline's class and model it cannot.
CHANGEABLE: dict[type[AbstractObject], tuple[Hashable, ...]] = {
    Pipeline: (
        Pipeline.scheduler,
        Pipeline.dtype,
        Pipeline.device,
        Pipeline.settings,
        Pipeline.replaced,
        Pipeline.tgated,
    ),
    Component: (Component.changed,),
    Scheduler: (Scheduler.open,),
    Made: (Made.open,),
    Helper: ("params",),
}


def taint(interpreter: Interpreter, values: list[Value], why: Reason) -> None:
    """Forget of everything reachable what code that cannot be read may have changed."""
    put, unknown = interpreter.store.put, Unknown(Why.MAY_BE_CHANGED(why))
    for thing in reachable(values):
        interpreter.spend(SLOT * len(thing.slots))
        if isinstance(thing, AbstractList):
            put(thing.slots, AbstractList.items, unknown)
        elif isinstance(thing, AbstractDict):
            for key in [*thing.slots, AbstractDict.open]:
                put(thing.slots, key, unknown)
        elif isinstance(thing, Instance):
            put(thing.slots, AbstractDict.open, unknown)
        else:
            for slot in CHANGEABLE.get(type(thing), ()):
                put(thing.slots, slot, unknown)


def may_call(interpreter: Interpreter, given: list[Value], why: Reason) -> None:
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
            interpreter.branch(
                Unknown(why), partial(_called, interpreter, value, unknown), lambda: NEXT
            )


def _called(interpreter: Interpreter, function: Value, arguments: Arguments) -> Done:
    interpreter.call(function, arguments)
    return NEXT


def forget_names(interpreter: Interpreter, why: Reason) -> None:
    """Forget every name of the module: code that cannot be read may have set it."""
    interpreter.spend(SLOT * len(interpreter.module.names))
    for name in list(interpreter.module.names):
        interpreter.store.put(interpreter.module.names, name, Unknown(Why.MAY_BE_CHANGED(why)))
