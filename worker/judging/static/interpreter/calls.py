"""Calls: the file's own functions and classes, methods of values, and names of libraries."""

from __future__ import annotations

import ast

from worker.judging.library_facts import NEUTRAL_PART_METHODS
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments, bind, is_generator
from worker.judging.static.interpreter.expressions import Evaluator
from worker.judging.static.interpreter_base import Abandoned, Done, Raised, describe
from worker.judging.static.libraries import accelerators, pipelines, schedulers
from worker.judging.static.operations import attributes, containers
from worker.judging.static.operations import builtins as builtin_calls
from worker.judging.static.operations import constants as pure
from worker.judging.static.values import (
    MISSING,
    SLOT,
    AbstractClass,
    AbstractDict,
    AbstractList,
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
    SchedulerConfig,
    Scope,
    Super,
    Unknown,
    Value,
    is_constant,
    same,
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
STEPS = frozenset(["num_inference_steps", "inference_step"])
MAX_CALLS = 30  # calls within calls


class Caller(Evaluator):
    """Call values."""

    def __init__(self) -> None:
        super().__init__()
        self.calling = 0

    def run_block(self, body: list[ast.stmt], scope: Scope) -> Done:
        """Execute statements; defined by the class above."""
        raise NotImplementedError

    def call(self, function: Value, arguments: Arguments) -> Value:
        """Return what a call returns, its effects done.

        Raises:
            Raised: the call certainly raises.
        """
        given = len(arguments.positional) + len(arguments.keywords)
        self.spend(2 + SLOT * given + sum(map(pure.size, arguments.positional)))
        if isinstance(function, Lib):
            return self._call_library(function, arguments)
        if isinstance(function, Bound):
            return self._call_bound(function, arguments)
        if isinstance(function, Part):
            return self._call_part(function, arguments)
        if isinstance(function, Function):
            return self.call_function(function, arguments)
        if isinstance(function, AbstractClass):
            return self._instantiate(function, arguments)
        if isinstance(function, Pipeline):
            return pipelines.call_pipeline(self, function, arguments)
        if isinstance(function, Partial):
            keywords = dict(function.keywords) | arguments.keywords
            positional = [*function.positional, *arguments.positional]
            return self.call(function.function, Arguments(positional, keywords, arguments.open))
        if isinstance(function, Instance):
            method = attributes.find(function.cls, "__call__")
            if isinstance(method, Function):
                return self.call_function(method, arguments.with_first(function), function)
        if isinstance(function, Component):  # a model is run: the result is the file's own matter
            return Unknown(Why.MODEL_OUTPUT())
        if isinstance(function, Super):
            return Unknown(Why.SUPER())
        if function is None or isinstance(function, (str, int, float, tuple)):
            raise Raised("TypeError", Why.NOT_CALLABLE())
        return self._call_unknown(function, arguments)

    def _call_unknown(self, function: Value, arguments: Arguments) -> Value:
        """Call something whose code is not here: whatever it is given may be changed by it."""
        why = (
            function.why
            if isinstance(function, Unknown)
            else Why.EFFECT(function=describe(function))
        )
        given = [*arguments.positional, *arguments.keywords.values()]
        self.taint(given, why)
        self.may_call(given, why)
        pipes = [value for value in given if isinstance(value, Pipeline)]
        if pipes:  # it may well be what calls the pipeline
            pipelines.call_pipeline(self, pipes[-1], Arguments(open=Unknown(why)))
        if STEPS & set(arguments.keywords):
            return pipelines.call_pipeline(self, Unknown(why), arguments)
        return Unknown(why)

    def _call_library(self, function: Lib, arguments: Arguments) -> Value:
        replaced = self.overridden.get(function.path, MISSING)
        if replaced is not MISSING:
            return self.call(replaced, arguments)
        if function.root == "diffusers":
            return self._call_diffusers(function, arguments)
        if function.root in ("DeepCache", "tomesd", "tgate"):
            return accelerators.call_package(self, function, arguments)
        known = builtin_calls.call(self, function, arguments)
        if known is not MISSING:
            return known
        if function.root == "transformers" and function.last in ("from_pretrained", "from_config"):
            return self._load_component(function.owner, arguments)
        if function.root in HARMLESS and not function.last.startswith("__"):
            self._give_to(function, arguments)
            what = Why.RESULT(function=function.path.removeprefix("builtins."))
            for value in arguments.positional:  # what is made of a part may still hold it
                if isinstance(value, (Part, Component, Pipeline)):
                    return Part(what, owner=value.owner if isinstance(value, Part) else value)
            return Unknown(what)
        return self._call_unknown(function, arguments)

    def _give_to(self, function: Lib, arguments: Arguments) -> None:
        """Do what a function of a well-known module may do to its arguments, or with them."""
        given = [*arguments.positional, *arguments.keywords.values()]
        why = Why.FUNCTION(path=function.path)
        if function.root in TOOLKITS and function.path != "torch.save":
            library_objects = (Pipeline, Component, Scheduler, Part)
            self.taint([v for v in given if isinstance(v, library_objects)], why)
        if function.root not in OBSERVERS:
            self.may_call(given, why)
        else:
            self.may_call([v for v in given if not isinstance(v, Pipeline)], why)

    def _call_diffusers(self, function: Lib, arguments: Arguments) -> Value:
        name, method = function.last, ""
        if not name[:1].isupper():
            name, method = function.owner, function.last
        if method == "__init__":
            return None
        if name.endswith("Pipeline") or name.startswith("AutoPipeline"):
            return pipelines.build(self, name, method, arguments)
        if name.endswith("Scheduler"):
            return schedulers.build(self, name, method, arguments)
        if method in ("from_pretrained", "from_single_file"):
            return self._load_component(name, arguments)
        self._give_to(function, arguments)
        plain = [*arguments.positional, *arguments.keywords.values()]
        key = (function.path, tuple(map(repr, plain)), tuple(arguments.keywords))
        certain = not method and arguments.open is None
        certain = certain and all(isinstance(item, (str, int, float, bool)) for item in plain)
        return Unknown(Why.RESULT(function=function.last), key if certain else None)

    def _load_component(self, name: str, arguments: Arguments) -> Value:
        model_id = arguments.get("pretrained_model_name_or_path", 0)
        dtype = arguments.get("torch_dtype", default=arguments.get("dtype"))
        part = Component({"of": model_id, "class": name})
        if dtype is not None:
            part.slots["dtype"] = pipelines.dtype_name(dtype)
        return part

    def _call_bound(self, bound: Bound, arguments: Arguments) -> Value:
        receiver, method = bound.receiver, bound.method
        self.spend(pure.size(receiver))
        if isinstance(method, Function):
            return self.call_function(method, arguments.with_first(receiver), receiver)
        if isinstance(receiver, (AbstractDict, SchedulerConfig)):
            return containers.dict_method(self, receiver, method, arguments)
        if isinstance(receiver, AbstractList):
            return containers.list_method(self, receiver, method, arguments)
        if isinstance(receiver, Bound) and method == "__call__":
            return self.call(receiver, arguments)
        if isinstance(receiver, str):
            if method == "format":
                self.spend(len(receiver) / 5)
                return pure.text_format(receiver, arguments.positional, arguments.keywords)
            if not arguments.keywords:
                return pure.text_method(receiver, method, arguments.positional)
        return Unknown(Why.RESULT(function=method))

    def _call_part(self, part: Part, arguments: Arguments) -> Value:
        """Call a method of a library's object, or something found inside of one."""
        owner, method = part.owner, part.name
        if part.own and isinstance(owner, Pipeline):
            return pipelines.call_method(self, owner, method, arguments)
        if part.own and isinstance(owner, Component):
            return pipelines.call_component(self, owner, method, arguments)
        if part.own and isinstance(owner, Helper):
            return accelerators.call_helper(self, owner, method, arguments)
        if part.own and isinstance(owner, Scheduler):
            return schedulers.call_method(self, owner, method, arguments)
        if STEPS & set(arguments.keywords):  # only a pipeline takes these
            return pipelines.call_pipeline(self, Unknown(part.why), arguments)
        if method not in NEUTRAL_PART_METHODS:
            attributes.change(self, part, method)
        return part.inner()

    def call_function(
        self, function: Function, arguments: Arguments, receiver: Value = None
    ) -> Value:
        """Run a function of the file on these arguments and return what it returns."""
        self.entered.add(id(function.node))
        if self.calling >= MAX_CALLS:
            raise Abandoned(Why.TOO_MUCH_RECURSION(function=function.name))
        names = Names(bind(function, arguments))
        scope = Scope(names, function.scope, function=function, receiver=receiver)
        self.calling += 1
        try:
            if isinstance(function.node, ast.Lambda):
                return self.evaluate(function.node.body, scope)
            if function.kind != "manager" and is_generator(function.node):
                return self._collect(function.node.body, scope)
            return self._run_body(function.node.body, scope)
        finally:
            self.calling -= 1

    def _run_body(self, body: list[ast.stmt], scope: Scope) -> Value:
        waiting = len(self.store.pending)
        every = frozenset({"return", "break", "continue"})
        try:
            done = self.run_block(body, scope)
            value = done.value if done.kind == "return" else None
        except Raised:
            other = self.switch("return", waiting, None)
            if other is None:
                raise
            value = other.value
        return self.settle(every, waiting, value)

    def _collect(self, body: list[ast.stmt], scope: Scope) -> Value:
        """Run a generator to its end at once and return all that it yields."""
        items: list[Value] = []
        self.yields.append(items.append)
        try:
            self._run_body(body, scope)
        finally:
            self.yields.pop()
        return AbstractList.of(tuple(items))

    def _instantiate(self, cls: AbstractClass, arguments: Arguments) -> Value:
        if cls.is_enum:
            return self._enum_member(cls, arguments)
        for base in cls.lineage:
            if isinstance(base, Lib) and base.root == "diffusers":
                return self._call_diffusers(base, arguments)
        instance = Instance(Names(), cls)
        constructor = attributes.find(cls, "__init__")
        if isinstance(constructor, Function):
            self.call_function(constructor, arguments.with_first(instance), instance)
        elif cls.is_data:
            self._fill_data(instance, cls, arguments)
        elif arguments.keywords or arguments.positional or arguments.open:
            # A base that is not here takes them, and may set any attribute by them.
            unknown = Unknown(Why.BASE_EFFECT(cls=cls.name))
            for name in [*arguments.keywords, *cls.slots]:
                if not isinstance(cls.slots.get(name), Function):
                    self.store.put(instance.slots, name, unknown)
        return instance

    def _enum_member(self, cls: AbstractClass, arguments: Arguments) -> Value:
        wanted = arguments.get("value", 0)
        self.spend(SLOT * len(cls.slots))
        for member in cls.slots.values():
            value = member.slots.get("value") if isinstance(member, Instance) else MISSING
            if same(value, wanted) or (is_constant(wanted) and value == wanted):  # 1 finds 1.0
                return member
        return Unknown(Why.ENUM_MEMBER(cls=cls.name))

    def _fill_data(self, instance: Instance, cls: AbstractClass, arguments: Arguments) -> None:
        """Do what the ``__init__`` of a dataclass or named tuple does."""
        fields: dict[str, Value] = {}
        lineage = [base for base in (cls, *cls.lineage) if isinstance(base, AbstractClass)]
        for member in reversed(lineage):
            names = member.slots.get("\0fields", ())
            for name in names if isinstance(names, tuple) else ():
                fields[str(name)] = member.slots.get(name, Unknown(Why.FIELD_WITHOUT_VALUE()))
        values = arguments.named(tuple(fields), fields)
        for name in fields:
            value = values[name]
            if isinstance(value, Partial) and value.function == Lib("dataclasses.field"):
                value = self._field_default(value)
            self.store.put(instance.slots, name, value)
        after = attributes.find(cls, "__post_init__")
        if isinstance(after, Function):
            self.call_function(after, Arguments([instance]), instance)

    def _field_default(self, field: Partial) -> Value:
        keywords = dict(field.keywords)
        if "default_factory" in keywords:
            return self.call(keywords["default_factory"], Arguments())
        return keywords.get("default", Unknown(Why.FIELD_WITHOUT_VALUE()))
