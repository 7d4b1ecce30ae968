"""Built-in and standard functions, and those of torch that build no pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from worker.judging.facts.parts import COMPONENTS
from worker.judging.facts.signatures import ancestors_of
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import (
    forget_names,
    holder,
    may_call,
    taint,
)
from worker.judging.static.interpreter.interpreter import Interpreter, Raised
from worker.judging.static.joining import digest, fingerprint, key_of
from worker.judging.static.libraries.placement import compilation
from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    AbstractList,
    Component,
    ExitStack,
    Instance,
    Lazy,
    Part,
    Pipeline,
    Scheduler,
)
from worker.judging.static.operations import (
    attributes,
    constants,
    containers,
    instances,
    operators,
)
from worker.judging.static.operations.iteration import collect, lazily
from worker.judging.static.operations.standard import classes, iterators, library, tasks
from worker.judging.static.scopes import Bound, Context, Function, Partial
from worker.judging.static.values import (
    MISSING,
    Lib,
    Unknown,
    Value,
    is_constant,
    is_symbol,
)

# What the machine is, not what the file says: unknown, yet the same for two files on one interpreter.
MACHINE_QUERIES = frozenset(
    [
        "torch.cuda.is_available",
        "torch.backends.mps.is_available",
        "torch.cuda.device_count",
        "torch.cuda.is_bf16_supported",
        "torch.xpu.is_available",
    ]
)
CONTEXTS = frozenset(
    [
        "torch.compiler.disable",
        "torch.no_grad",
        "torch.inference_mode",
        "torch.cuda.device",
        "warnings.catch_warnings",
        "torch.enable_grad",
        "torch.set_grad_enabled",
        "torch.cuda.stream",
    ]
)
SUPPRESS = Lib("contextlib.suppress")
SILENT = Lib("builtins.silent")  # what a decorator or context without consequence stands for
EXITS = frozenset(["builtins.exit", "builtins.quit", "sys.exit", "os._exit", "os.abort"])


def call_standard(interpreter: Interpreter, function: Lib, given: Arguments) -> Value:
    """Return a standard function's result, MISSING if the function is not known here."""
    path = function.path
    name = path.removeprefix("builtins.")
    first = given.get("", 0)
    if function == SILENT or path in CONTEXTS:
        return first if isinstance(first, (Function, AbstractClass)) else SILENT
    if path == "functools.wraps":
        return SILENT
    if path in EXITS:
        raise Raised("SystemExit", Why.PROGRAM_LEAVES())
    if path in MACHINE_QUERIES:
        return Unknown(Why.MACHINE_QUERY(path=path), path)
    if name in ("print", "hash", "format", "reversed") or name in constants.BUILTINS:
        asked: list[Value] = [item for item in given.positional if isinstance(item, Instance)]
        if name not in ("str", "repr", "len", "bool") and operators.as_constant(first) is first:
            may_call(interpreter, asked, Why.RESULT(function=name))
    if name in _OF_ARGUMENTS:
        return _OF_ARGUMENTS[name](given)
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](interpreter, given)
    if name in constants.BUILTINS:
        return _pure(interpreter, name, given)
    return MISSING


def _pure(interpreter: Interpreter, name: str, given: Arguments) -> Value:
    """Call one of Python's own pure functions on known values."""
    values: list[Value] = []
    for item in given.positional:
        value = operators.as_constant(item) if name not in ("str", "repr") else item
        if isinstance(item, Lazy):
            value = AbstractList.of(collect(interpreter, item))
        if name in ("str", "repr", "len", "bool") and isinstance(value, Instance):
            return _asked(interpreter, name, value)
        plain = value.items if isinstance(value, AbstractList) else value
        if name == "len" and isinstance(value, (AbstractDict, AbstractList, tuple)):
            plain = constants.iterate(value)
            return len(plain) if isinstance(plain, tuple) else Unknown(plain.why)
        if not is_constant(plain):
            return Unknown(plain.why if isinstance(plain, Unknown) else Why.RESULT(function=name))
        values.append(plain)
    if given.open or given.keywords:
        return Unknown(Why.RESULT(function=name))
    return constants.known(constants.BUILTINS[name], *values)


def _asked(interpreter: Interpreter, name: str, value: Instance) -> Value:
    """Return what an object of the file's own class says of itself."""
    if name == "bool":
        return operators.truth(interpreter, value)
    if name == "len":
        length = instances.call_special(interpreter, value, "__len__")
        return Unknown(Why.RESULT(function=name)) if length is MISSING else length
    return operators.text_of(interpreter, value)


def _compile(interpreter: Interpreter, given: Arguments) -> Value:
    model = given.get("model", 0)
    if isinstance(model, Component):  # the model itself stays as it is
        before, chosen = model.slots.get(Component.compile, MISSING), compilation(given)
        if before is not MISSING and fingerprint(before) != fingerprint(chosen):
            keys = fingerprint(before), fingerprint(chosen)
            key = None if None in keys else digest(*keys)
            chosen = Unknown(Why.REPEATED_CALL(method="compile"), key)
        model = Component(dict(model.slots))
        interpreter.store.set(model.slots, Component.compile, chosen)
    if isinstance(model, Pipeline):  # what it returns is called in its place
        attributes.change(interpreter, model, "compile", fingerprint(compilation(given)))
    if isinstance(model, Bound) and isinstance(model.method, Function):
        method = _compile(interpreter, Arguments([model.method], given.keywords))
        return Bound(model.receiver, method) if isinstance(method, Function) else model
    if isinstance(model, Function):  # what it calls is compiled with it
        return replace(model, contexts=(Context("compile", compilation(given)), *model.contexts))
    if model is None:
        return Partial(Lib("torch.compile"), (), tuple(given.keywords.items()))
    return model


def _device(given: Arguments) -> Value:
    kind, index = given.get("type", 0), given.get("index", 1)
    return f"{kind}:{index}" if isinstance(kind, str) and isinstance(index, int) else kind


def _dynamic(interpreter: Interpreter, given: Arguments) -> Value:
    """Forget every name and every pipeline: code in a text may change any of them."""
    forget_names(interpreter, Why.RUN_TIME_CODE())
    taint(interpreter, [*interpreter.built], Why.RUN_TIME_CODE())
    return Unknown(Why.RUN_TIME_CODE_RESULT())


def _first(given: Arguments) -> Value:
    return given.get("", 0)


def _expand_user(given: Arguments) -> Value:
    path = given.get("path", 0)
    at_home = not isinstance(path, str) or path.startswith("~")
    return Unknown(Why.HOME()) if at_home else path


def _partial(given: Arguments) -> Value:
    keywords = tuple(given.keywords.items())
    positional = tuple(given.positional[1:])
    return Partial(given.get("", 0), positional, keywords, given.spread, given.open)


def _null_context(given: Arguments) -> Value:
    return lazily(lambda visit: visit(given.get("enter_result", 0)))


def _attributes_of(interpreter: Interpreter, given: Arguments) -> Value:
    if not given.positional:
        return _dynamic(interpreter, given)
    owner = given.get("", 0)
    if isinstance(owner, (Pipeline, Component, Scheduler)):
        return attributes.read(interpreter, owner, "__dict__")
    if isinstance(owner, Instance):
        return AbstractDict(owner.slots)  # the very slots
    if isinstance(owner, AbstractClass):
        more = ("__dict__", "__weakref__", "__doc__")
        unknown = dict.fromkeys(more, Unknown(Why.ATTRIBUTES()))
        return AbstractDict({"__module__": "__main__", **owner.slots, **unknown})
    return Unknown(Why.ATTRIBUTES())


def _module(given: Arguments) -> Value:
    name = given.get("name", 0)
    return Lib(name) if isinstance(name, str) else Unknown(Why.UNKNOWN_MODULE())


def _type(interpreter: Interpreter, given: Arguments) -> Value:
    owner = given.get("", 0)
    if isinstance(owner, (Pipeline, Component, Scheduler)):
        return attributes.read(interpreter, owner, "__class__")
    if len(given.positional) > 1:  # it makes a class
        return Part(Why.TYPE(), owner=AbstractList.of(tuple(interpreter.built)), name="_held")
    return owner.cls if isinstance(owner, Instance) else Unknown(Why.TYPE())


def _setattr(interpreter: Interpreter, given: Arguments) -> Value:
    owner, name = given.get("", 0), given.get("", 1)
    if isinstance(name, str):
        attributes.write(interpreter, owner, name, given.get("", 2))
    else:
        attributes.write(interpreter, owner, "__dict__", Unknown(Why.UNKNOWN_ATTRIBUTE()))
    return None


def _delattr(interpreter: Interpreter, given: Arguments) -> Value:
    owner, name = given.get("", 0), given.get("", 1)
    if isinstance(name, str):
        attributes.delete(interpreter, owner, name)
    else:
        taint(interpreter, [owner], Why.UNKNOWN_ATTRIBUTE())
    return None


def _hasattr(interpreter: Interpreter, given: Arguments) -> Value:
    owner, name = given.get("", 0), given.get("", 1)
    if isinstance(owner, Pipeline) and isinstance(name, str):
        if name not in COMPONENTS and name in owner.slots:
            return True
        has_part = attributes.has_part(owner, name) if name in COMPONENTS else None
        if has_part is not None:
            return has_part
        cls = key_of(owner.cls)
        return Unknown(Why.HAS_PART(name=name), (cls, name) if cls else None)
    if isinstance(owner, Instance) and isinstance(name, str):
        return _instance_has(interpreter, owner, name)
    return Unknown(Why.RESULT(function="hasattr"))


def _instance_has(interpreter: Interpreter, owner: Instance, name: str) -> bool | Unknown:
    try:
        value = attributes.read(interpreter, owner, name)
    except Raised as error:
        if error.exception != "AttributeError":
            raise
        return False
    return Unknown(value.why) if isinstance(value, Unknown) else True


def _getattr(interpreter: Interpreter, given: Arguments) -> Value:
    owner, name = given.get("", 0), given.get("", 1)
    if not isinstance(name, str):
        return holder(interpreter, [owner], Why.UNKNOWN_ATTRIBUTE())
    has_default = len(given.positional) > 2
    may_lack = has_default and isinstance(owner, Pipeline) and name in COMPONENTS
    if may_lack and isinstance(owner, Pipeline) and attributes.has_part(owner, name) is None:
        return Part(Why.HAS_PART(name=name), owner=owner, name=name)
    try:
        return attributes.read(interpreter, owner, name)
    except Raised as error:
        if not has_default or error.exception != "AttributeError":
            raise
        return given.positional[2]


def _isinstance(given: Arguments) -> Value:
    value, cls = given.get("", 0), given.get("", 1)
    classes = cls if isinstance(cls, tuple) else (cls,)
    names = [item.last if isinstance(item, Lib) else getattr(item, "name", "") for item in classes]
    if isinstance(value, Instance):
        return value.cls in classes or Unknown(Why.RESULT(function="isinstance"))
    if isinstance(value, Pipeline):
        return _is_pipeline(value, classes)
    kinds: dict[type, str] = {str: "str", bool: "bool", int: "int", float: "float", tuple: "tuple"}
    own = "list" if isinstance(value, AbstractList) else kinds.get(type(value), "")
    own = "dict" if isinstance(value, AbstractDict) else own
    if value is None or own:
        return own in names or (own == "bool" and "int" in names)
    return Unknown(Why.RESULT(function="isinstance"))


def _is_pipeline(pipe: Pipeline, classes: tuple[Value, ...]) -> bool | Unknown:
    """Whether a pipeline is of one of these classes."""
    own = ancestors_of(pipe.cls) if isinstance(pipe.cls, str) else None
    names = [item.last if is_symbol(item) and isinstance(item, Lib) else "" for item in classes]
    if (
        pipe.cls in names
        or "DiffusionPipeline" in names
        or not (own or frozenset()).isdisjoint(names)
    ):
        return True
    certain = own is not None and all(ancestors_of(name) for name in names)
    return False if certain else Unknown(Why.RESULT(function="isinstance"))


# What only looks at its arguments.
_OF_ARGUMENTS: dict[str, Callable[[Arguments], Value]] = {
    **classes.OF_ARGUMENTS,
    "torch.device": _device,
    "os.fspath": _first,
    "os.path.expanduser": _expand_user,
    "contextlib.contextmanager": _first,
    "contextlib.asynccontextmanager": _first,
    "contextlib.ExitStack": lambda given: ExitStack(),
    "contextlib.suppress": lambda given: Partial(SUPPRESS, tuple(given.positional), ()),
    "contextlib.nullcontext": _null_context,
    "typing.cast": lambda given: given.get("val", 1),
    "functools.partial": _partial,
    "importlib.import_module": _module,
    "__import__": _module,
    "isinstance": _isinstance,
    "range": containers.make_range,
}
# What changes something, calls something, or costs work that is counted.
_FUNCTIONS: dict[str, Callable[[Interpreter, Arguments], Value]] = {
    **classes.FUNCTIONS,
    **iterators.ITERATORS,
    **library.STANDARD,
    **tasks.TASKS,
    "exec": _dynamic,
    "eval": _dynamic,
    "globals": _dynamic,
    "locals": _dynamic,
    "torch.compile": _compile,
    "print": lambda interpreter, given: None,
    "vars": _attributes_of,
    "type": _type,
    "setattr": _setattr,
    "delattr": _delattr,
    "getattr": _getattr,
    "hasattr": _hasattr,
    "dict": containers.make_dict,
    "collections.OrderedDict": containers.make_dict,
    "sorted": containers.sorted_call,
}
