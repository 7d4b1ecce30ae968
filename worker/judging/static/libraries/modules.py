"""Functions of libraries: what a call does whose code is not read."""

from __future__ import annotations

from worker.judging.facts.functions import CACHES
from worker.judging.facts.packages import IMPORTED_PACKAGES
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.effects import holder, may_call, taint
from worker.judging.static.interpreter.interpreter import Interpreter
from worker.judging.static.libraries import (
    accelerators,
    contexts,
    loading,
    pipelines,
    products,
    schedulers,
)
from worker.judging.static.objects import Component, Computed, Lazy, Part, Pipeline, Scheduler
from worker.judging.static.operations.standard.builtins import call_standard
from worker.judging.static.scopes import Function, Partial
from worker.judging.static.values import (
    MISSING,
    Lib,
    Unknown,
    Value,
)

# Modules whose functions call no pipeline of their own accord, but may change what they are given.
TOOLKITS = frozenset(
    [
        "accelerate",
        "diffusers",
        "huggingface_hub",
        "numpy",
        "safetensors",
        "torch",
        "torchvision",
        "transformers",
    ]
)
# Functions of these modules may be given a pipeline without any suspicion that they change it.
HARMLESS = TOOLKITS | frozenset(
    [
        "PIL",
        "tqdm",
        "matplotlib",
        "rich",
        "builtins",
        "math",
        "os",
        "sys",
        "time",
        "json",
        "re",
        "random",
        "gc",
        "logging",
        "warnings",
        "pathlib",
        "datetime",
        "functools",
        "itertools",
        "typing",
        "collections",
        "contextlib",
        "copy",
        "inspect",
        "hashlib",
        "argparse",
        "statistics",
        "string",
        "tempfile",
        "shutil",
        "io",
        "dataclasses",
        "enum",
        "abc",
        "textwrap",
        "platform",
        "uuid",
        "traceback",
        "pprint",
        "csv",
        "operator",
        "types",
        "IPython",
        "cv2",
        "psutil",
        "pynvml",
        "asyncio",
        "threading",
        "concurrent",
        "signal",
        "subprocess",
    ]
)
OBSERVERS = frozenset(["builtins", "gc", "inspect", "logging", "pprint", "rich", "sys", "warnings"])


def call_library(interpreter: Interpreter, function: Lib, arguments: Arguments) -> Value:
    """Return what a library's function returns, its effects done; MISSING if it may do anything."""
    context = contexts.make(function.path, arguments)
    if context is not None:
        return context
    if contexts.set_switch(interpreter, function, arguments):
        return None
    computed = products.call_function(interpreter, function.path, arguments)
    if computed is not MISSING:
        return computed
    if function.root == "diffusers":
        return call_diffusers(interpreter, function, arguments)
    if function.root in IMPORTED_PACKAGES:
        return accelerators.call_package(interpreter, function, arguments)
    known = call_standard(interpreter, function, arguments)
    if known is not MISSING:
        return known
    if function.root == "transformers" and function.last in ("from_pretrained", "from_config"):
        return loading.load_part(function.owner, function.last, arguments, of_diffusers=False)
    if function.root == "transformers" and (made := products.make(function.last, arguments)):
        return made
    if function.root in HARMLESS and not function.last.startswith("__"):
        _give_to(interpreter, function, arguments)
        what = Why.RESULT(function=function.path.removeprefix("builtins."))
        for value in arguments.positional:  # what is made of a part may still hold it
            if isinstance(value, (Part, Component, Pipeline)):
                return Part(what, owner=value.owner if isinstance(value, Part) else value)
        return holder(interpreter, [*arguments.positional, *arguments.keywords.values()], what)
    return MISSING


def _give_to(interpreter: Interpreter, function: Lib, arguments: Arguments) -> None:
    """Do what a function of a well-known module may do to its arguments, or with them."""
    given = [*arguments.positional, *arguments.keywords.values()]
    why = Why.FUNCTION(path=function.path)
    if function.root in TOOLKITS and function.path != "torch.save":
        library_objects = (Pipeline, Component, Scheduler, Part)
        taint(interpreter, [v for v in given if isinstance(v, library_objects)], why)
    if any(isinstance(value, (Function, Lazy, Partial)) for value in given):
        taint(interpreter, given, why)  # it may be called with the others
    if function.root not in OBSERVERS:
        taint(interpreter, [v for v in given if isinstance(v, Computed)], why)
        may_call(interpreter, given, why)
    else:
        may_call(interpreter, [v for v in given if not isinstance(v, Pipeline)], why)


def call_diffusers(interpreter: Interpreter, function: Lib, arguments: Arguments) -> Value:
    """Return what a class, or a class method, of diffusers makes."""
    name, method = function.last, ""
    if not name[:1].isupper() and name not in CACHES:
        name, method = function.owner, function.last
    if method == "__init__":
        return None
    if name.endswith("Pipeline") or name.startswith("AutoPipeline"):
        return loading.build(interpreter, name, method, arguments)
    if name.endswith("Scheduler"):
        return schedulers.build(name, method, arguments)
    if not method and (made := products.make(name, arguments)) is not None:
        return made
    if method in ("from_pretrained", "from_single_file", "from_config"):
        return loading.load_part(name, method, arguments, of_diffusers=name != "AutoModel")
    model = arguments.get("module", 0)
    if name in CACHES and isinstance(model, Component):
        config = arguments.get("config", 1)
        pipelines.give_cache(interpreter, model, config, known_to_it=False)
        return None
    _give_to(interpreter, function, arguments)
    plain = [*arguments.positional, *arguments.keywords.values()]
    key = (function.path, tuple(map(repr, plain)), tuple(arguments.keywords))
    certain = not method and arguments.open is None
    certain = certain and all(isinstance(item, (str, int, float, bool)) for item in plain)
    return Unknown(Why.RESULT(function=function.last), key if certain else None)
