"""Calls: what each kind of value does when it is called."""

from __future__ import annotations

from dataclasses import replace

from worker.judging.facts.methods import NEUTRAL_PART_METHODS
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter import classes, with_blocks
from worker.judging.static.interpreter.effects import holder, may_call, taint
from worker.judging.static.interpreter.functions import call_function
from worker.judging.static.interpreter.interpreter import CallHandler, Interpreter, Raised
from worker.judging.static.joining import reachable
from worker.judging.static.libraries import (
    accelerators,
    contexts,
    modules,
    pipelines,
    products,
    schedulers,
)
from worker.judging.static.libraries.pipeline_calls import call_pipeline
from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    AbstractList,
    CommandLine,
    Component,
    Computed,
    ExitStack,
    Helper,
    Inherited,
    Instance,
    Lazy,
    Part,
    Pipeline,
    Scheduler,
    SchedulerConfig,
    is_pipeline_class,
)
from worker.judging.static.operations import (
    attributes,
    constants,
    containers,
    instances,
    iteration,
    text,
)
from worker.judging.static.operations.standard import command_line
from worker.judging.static.scopes import Bound, Context, Function, Partial, Super
from worker.judging.static.values import (
    MISSING,
    Lib,
    Unknown,
    Value,
)

STEPS = frozenset(["num_inference_steps", "inference_step"])


def _call_library(interpreter: Interpreter, function: Lib, arguments: Arguments) -> Value:
    replaced = interpreter.overridden.get(function.path, MISSING)
    if replaced is not MISSING:
        return interpreter.call(replaced, arguments)
    first = arguments.positional[0] if arguments.positional else None
    of_pipelines = is_pipeline_class(Lib(function.path.rpartition(".")[0]))
    if isinstance(first, Pipeline) and of_pipelines and not function.last.startswith("from_"):
        # A method that is called by its class.
        method = Part(Why.ATTRIBUTE(name=function.last), owner=first, name=function.last, own=True)
        return interpreter.call(method, arguments.without_first())
    known = modules.call_library(interpreter, function, arguments)
    return call_unknown(interpreter, function, arguments) if known is MISSING else known


def _call_partial(interpreter: Interpreter, function: Partial, arguments: Arguments) -> Value:
    keywords = dict(function.keywords) | arguments.keywords
    positional = [*function.positional, *arguments.positional]
    spread = (function.spread or {}) | (arguments.spread or {})
    merged = Arguments(positional, keywords, arguments.open or function.open, spread)
    return interpreter.call(function.function, merged)


def _call_instance(interpreter: Interpreter, function: Instance, arguments: Arguments) -> Value:
    method = function.cls.find("__call__")
    if method is MISSING:
        raise Raised("TypeError", Why.NOT_CALLABLE())
    if isinstance(method, Inherited):
        return call_unknown(interpreter, instances.inherited(function), arguments)
    if isinstance(method, Function):
        return call_function(interpreter, method, arguments.with_first(function), function)
    return interpreter.call(method, arguments)


def _call_pipeline(interpreter: Interpreter, pipe: Pipeline, arguments: Arguments) -> Value:
    own = pipe.subclass.find("__call__") if isinstance(pipe.subclass, AbstractClass) else None
    if isinstance(own, Function):
        return call_function(interpreter, own, arguments.with_first(pipe), pipe)
    return call_pipeline(interpreter, pipe, arguments)


def _call_component(interpreter: Interpreter, model: Component, arguments: Arguments) -> Value:
    return Unknown(Why.MODEL_OUTPUT())  # what is done with it is the file's own matter


def _call_object(interpreter: Interpreter, value: Value, arguments: Arguments) -> Value:
    raise Raised("TypeError", Why.NOT_CALLABLE())


def _call_context(interpreter: Interpreter, context: Context, arguments: Arguments) -> Value:
    """Decorate a function with a context manager."""
    function = arguments.get("func", 0)
    if not isinstance(function, Function):
        return call_unknown(interpreter, Unknown(Why.EFFECT(function=context.setting)), arguments)
    return replace(function, contexts=(context, *function.contexts))


def _call_super(interpreter: Interpreter, function: Super, arguments: Arguments) -> Value:
    return Unknown(Why.SUPER())


def call_unknown(interpreter: Interpreter, function: Value, arguments: Arguments) -> Value:
    """Call something whose code is not here: whatever it is given may be changed by it.

    Raises:
        Raised: it is nothing that can be called.
    """
    if function is None or isinstance(function, (str, int, float, tuple)):
        raise Raised("TypeError", Why.NOT_CALLABLE())
    why = function.why if isinstance(function, Unknown) else Why.EFFECT(function=_name_of(function))
    given = [*arguments.positional, *arguments.keywords.values()]
    if isinstance(function, Part):
        given.append(function.owner)
    if isinstance(function, Lazy):  # a manager that decorates
        given.append(function)
    taint(interpreter, given, why)
    may_call(interpreter, given, why)
    pipes = [value for value in reachable(given) if isinstance(value, Pipeline)]
    if pipes:  # it may well be what calls the pipeline
        call_pipeline(interpreter, pipes[-1], Arguments(open=Unknown(why)))
    if STEPS & set(arguments.keywords):
        return call_pipeline(interpreter, Unknown(why), arguments)
    return holder(interpreter, given, why)


def _call_bound(interpreter: Interpreter, bound: Bound, arguments: Arguments) -> Value:
    receiver, method = bound.receiver, bound.method
    if isinstance(receiver, AbstractClass) and isinstance(method, str):
        return classes.load_pipeline(interpreter, receiver, method, arguments)
    interpreter.spend(constants.size(receiver))
    if isinstance(method, Function):
        return call_function(interpreter, method, arguments.with_first(receiver), receiver)
    if isinstance(receiver, Context):
        return contexts.switch(interpreter, receiver, method)
    if isinstance(receiver, (AbstractDict, SchedulerConfig)):
        return containers.dict_method(interpreter, receiver, method, arguments)
    if isinstance(receiver, AbstractList):
        return containers.list_method(interpreter, receiver, method, arguments)
    if isinstance(receiver, ExitStack):
        return with_blocks.stack_method(interpreter, receiver, method, arguments)
    if isinstance(receiver, CommandLine):
        return command_line.call_method(interpreter, receiver, method, arguments)
    if isinstance(receiver, Lazy):
        return iteration.call_method(interpreter, receiver, method, arguments)
    if isinstance(receiver, Bound) and method == "__call__":
        return interpreter.call(receiver, arguments)
    if isinstance(receiver, str):
        arguments = iteration.consumed(interpreter, arguments)
        if method == "format":
            interpreter.spend(len(receiver) / 5)
            return text.from_template(receiver, arguments.positional, arguments.keywords)
        if not arguments.keywords:
            return text.call_method(receiver, method, arguments.positional)
    return Unknown(Why.RESULT(function=method))


def _call_part(interpreter: Interpreter, part: Part, arguments: Arguments) -> Value:
    """Call a method of a library's object, or something found inside of one."""
    owner, method = part.owner, part.name
    if isinstance(owner, Instance):
        return call_unknown(interpreter, part, arguments)
    if isinstance(part, Computed) and (made := products.call_method(interpreter, part, arguments)):
        return made
    if part.own and isinstance(owner, Pipeline):
        return pipelines.call_method(interpreter, owner, method, arguments)
    if part.own and isinstance(owner, Component):
        return pipelines.call_component(interpreter, owner, method, arguments)
    if part.own and isinstance(owner, Helper):
        return accelerators.call_helper(interpreter, owner, method, arguments)
    if part.own and isinstance(owner, Scheduler):
        return schedulers.call_method(interpreter, owner, method, arguments)
    if STEPS & set(arguments.keywords):  # only a pipeline takes these
        return call_pipeline(interpreter, Unknown(part.why), arguments)
    if method not in NEUTRAL_PART_METHODS:
        attributes.change(interpreter, part, method)
    return part.inner()


def _name_of(value: Value) -> str:
    """Name what is called, for a reason."""
    if isinstance(value, Lib):
        return value.path.removeprefix("builtins.")
    return str(getattr(value, "name", type(value).__name__))


CALLS: dict[type, CallHandler] = {
    Lib: _call_library,
    Bound: _call_bound,
    Part: _call_part,
    Computed: _call_part,
    Function: call_function,
    AbstractClass: classes.instantiate,
    Pipeline: _call_pipeline,
    Partial: _call_partial,
    Instance: _call_instance,
    Component: _call_component,
    Super: _call_super,
    Context: _call_context,
    **dict.fromkeys((AbstractDict, AbstractList, Helper, Scheduler), _call_object),
}
