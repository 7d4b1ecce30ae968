"""What code that cannot be read may do to the values it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from functools import partial

from worker.judging.reasons.codes import Reason, Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.interpreter import NEXT, Done, Interpreter, Raised
from worker.judging.static.joining import reachable
from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    AbstractList,
    AbstractObject,
    Component,
    Helper,
    Instance,
    Lazy,
    Made,
    Part,
    Pipeline,
    Product,
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
    Product: (Product.changed,),
    Helper: ("params",),
}

# What later use of something that holds it may change.
_LIVING = (Pipeline, Component, Helper, Scheduler, Instance)
# Methods of library objects that change something, or call the pipeline.
SWITCHES = re.compile(r"__call__|tgate|to|(disable|enable|fuse|load|set|unload|unfuse)(_\w+)?")


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


def doubt(interpreter: Interpreter, run: Callable[[], object], why: Reason) -> None:
    """Do what may happen, in part or not at all: everything that it changes is unknown after it."""
    mark = interpreter.store.mark()
    try:
        run()
    except Raised:
        pass
    finally:
        interpreter.forget_since(mark, Why.DEPENDS_ON(why))


def may_call(interpreter: Interpreter, given: list[Value], why: Reason) -> None:
    """Follow the functions and pipelines that something else is given, and may call."""
    part = next((value for value in given if isinstance(value, Part)), None)
    for value in given:
        if isinstance(value, Instance):
            _call_methods(interpreter, value, why)
        if isinstance(value, Lazy):
            doubt(interpreter, partial(value.produce, lambda item: None), why)
        method = getattr(value, "method", getattr(value, "name", ""))
        if (
            isinstance(value, (Function, Partial, Pipeline))
            or (isinstance(value, Bound) and isinstance(method, Function))
            or (isinstance(value, Part) and value.own and SWITCHES.fullmatch(method))
        ):
            unknown = Arguments(open=part.inner() if part else Unknown(Why.GIVEN_BY(why)))
            interpreter.branch(
                Unknown(why), partial(_called, interpreter, value, unknown), lambda: NEXT
            )


def _call_methods(interpreter: Interpreter, owner: Instance, why: Reason) -> None:
    """Do what any method of an object may do, each once however they call each other."""
    own = [base for base in (owner.cls, *owner.cls.lineage) if isinstance(base, AbstractClass)]
    methods = [item for base in own for item in base.slots.values() if isinstance(item, Function)]
    for method in methods:
        if id(method.node) in interpreter.doubted or method.name == "__init__":
            continue
        interpreter.doubted.add(id(method.node))
        given = Arguments([] if method.kind == "static" else [owner], open=Unknown(why))
        try:
            doubt(interpreter, partial(interpreter.call, method, given), why)
        finally:
            interpreter.doubted.discard(id(method.node))


def holder(interpreter: Interpreter, given: list[Value], why: Reason) -> Unknown:
    """Return what code that cannot be read makes of values: it may hold and change them later."""
    objects = [value for value in reachable(given) if isinstance(value, _LIVING)]
    if any(isinstance(value, (Function, Lazy, Partial, Bound)) for value in given):
        objects += interpreter.built  # a closure may reach any of them
    if not objects:
        return Unknown(why)
    return Part(why, owner=AbstractList.of(tuple(objects)), name="_held")


def _called(interpreter: Interpreter, function: Value, arguments: Arguments) -> Done:
    interpreter.call(function, arguments)
    return NEXT


def forget_names(interpreter: Interpreter, why: Reason) -> None:
    """Forget every name of the module: code that cannot be read may have set it."""
    interpreter.spend(SLOT * len(interpreter.module.names))
    for name in list(interpreter.module.names):
        interpreter.store.put(interpreter.module.names, name, Unknown(Why.MAY_BE_CHANGED(why)))
