"""What a file builds and calls, read from its text alone."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from worker.judging import source
from worker.judging.facts.packages import PACKAGES
from worker.judging.fields import CALL_FIELDS, FIELDS, NO_PIPELINE, NOT_CALLED, Findings
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter import (
    calls,
    classes,
    comprehensions,
    expressions,
    functions,
    loops,
    names,
    statements,
    with_blocks,
)
from worker.judging.static.interpreter.interpreter import Abandoned, Handlers, Interpreter, Raised
from worker.judging.static.libraries import accelerators, loading
from worker.judging.static.libraries.modules import HARMLESS
from worker.judging.static.libraries.pipeline_calls import pipeline_fields
from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    AbstractList,
    Call,
    Computed,
    Instance,
    Made,
    Slots,
)
from worker.judging.static.scopes import Function, Names
from worker.judging.static.undo_log import JUMPS
from worker.judging.static.values import (
    MISSING,
    Lib,
    Unknown,
    Value,
    is_constant,
)

MAX_NESTING = 6
MAX_VALUES = 50_000
# Which module handles what; none knows of all the others.
HANDLERS = Handlers(
    expressions={**expressions.EXPRESSIONS, **comprehensions.EXPRESSIONS},
    statements={
        **statements.STATEMENTS,
        **with_blocks.STATEMENTS,
        **loops.STATEMENTS,
        **names.STATEMENTS,
        **functions.STATEMENTS,
        **classes.STATEMENTS,
    },
    calls=calls.CALLS,
    call_other=calls.call_unknown,
)


@dataclass(frozen=True)
class SourceFile:
    """A Python file or a notebook, and what its text tells."""

    path: str
    # As Python alone, without what only notebooks understand.
    data: bytes
    findings: Findings

    @classmethod
    def read(cls, path: str) -> SourceFile:
        """Read a file.

        Raises:
            SourceError: it cannot be read, or does not parse.
        """
        data = source.read_source(path)
        findings = extract(data)
        return cls(path, source.python_bytes(data), findings)


def extract(data: bytes) -> Findings:
    """Read what a file's last pipeline call does.

    Raises:
        SourceError: the bytes are not Python; the message says why.
    """
    tree = source.parse(data)
    interpreter = Interpreter(HANDLERS)
    if not source.in_order(data):
        return Findings(
            dict.fromkeys(FIELDS, Unknown(Why.NOTEBOOK_ORDER())), [Why.NOTEBOOK_ORDER()]
        )
    try:
        fields = _read(interpreter, tree)
    except Abandoned as error:
        fields = dict.fromkeys(FIELDS, Unknown(error.reason))
        interpreter.note(error.reason)
    except (RecursionError, MemoryError):
        fields = dict.fromkeys(FIELDS, Unknown(Why.NESTED_TOO_DEEPLY()))
    to_plain = _ToPlain()
    return Findings({name: to_plain(fields[name]) for name in FIELDS}, list(interpreter.notes))


def untouched(findings: Findings) -> Findings:
    """Return what a file does that loads the same pipeline and sets nothing: the defaults."""
    interpreter = Interpreter(HANDLERS)
    name = findings.fields["pipeline"]
    if not isinstance(name, str):
        return Findings(dict.fromkeys(FIELDS, Unknown(Why.PIPELINE_DEFAULTS())))
    model = Arguments([findings.fields["model_id"]])
    interpreter.call(loading.build(interpreter, name, "from_pretrained", model), Arguments([""]))
    call = interpreter.last_call
    slots = call.slots if isinstance(call, Call) else {}
    return Findings({name: _ToPlain()(slots.get(name)) for name in FIELDS})


class _ToPlain:
    """Makes plain data of values; what is an object, or set elsewhere, is unknown.

    Counts the values of one file: a small one can nest a few dictionaries in each other so that
    they unfold into billions.
    """

    def __init__(self) -> None:
        self._budget = MAX_VALUES

    def __call__(self, value: Value, depth: int = 0) -> Value:
        self._budget -= 1
        if depth > MAX_NESTING or self._budget < 0:
            return Unknown(Why.VALUE_NESTED_TOO_DEEPLY())
        if isinstance(value, Computed):  # as deep as it is: the budget counts
            return replace(value, arguments=tuple(self(item) for item in value.arguments))
        if isinstance(value, Lib) and value.root not in ("torch", "diffusers"):
            return Unknown(Why.SET_ELSEWHERE(name=value.path))
        if isinstance(value, (AbstractDict, Made)):
            named = {"class" if key is Made.cls else key: value.slots[key] for key in value.slots}
            return AbstractDict({key: self(item, depth + 1) for key, item in named.items()})
        items = value.items if isinstance(value, AbstractList) else value
        if isinstance(items, tuple):
            return AbstractList.of(tuple(self(item, depth + 1) for item in items))
        if is_constant(value) or isinstance(value, (Lib, Unknown)):
            return value
        return items if isinstance(items, Unknown) else Unknown(Why.PROGRAM_OBJECT())


def _read(interpreter: Interpreter, tree: ast.Module) -> Slots:
    interpreter.module.names["__name__"] = "__main__"
    raised: Raised | None = None
    try:
        interpreter.run_block(tree.body, interpreter.module)
    except Raised as error:
        if error.exception != "SystemExit":
            raised = error
            interpreter.note(Why.FILE_FAILS(error.reason))
    interpreter.settle(JUMPS, 0)
    if interpreter.last_call is None and raised is None:
        _read_uncalled(interpreter)
    call = interpreter.last_call
    if isinstance(call, Call):
        return dict(call.slots)
    if isinstance(call, Unknown):
        return dict.fromkeys(FIELDS, call)
    return _without_call(interpreter)


def _without_call(interpreter: Interpreter) -> Slots:
    """Return the fields of a file that builds a pipeline, perhaps, and calls none."""
    if not interpreter.built:
        interpreter.note(Why.NO_PIPELINE_BUILT())
        elsewhere = [
            value.path
            for value in interpreter.module.names.values()
            if isinstance(value, Lib) and value.root not in HARMLESS | PACKAGES
        ]
        if not elsewhere:
            return dict.fromkeys(FIELDS, NO_PIPELINE)
        return dict.fromkeys(FIELDS, Unknown(Why.BUILDS_PIPELINE(name=elsewhere[0])))
    pipe = interpreter.built[-1]
    fields: Slots = dict.fromkeys(CALL_FIELDS, NOT_CALLED)
    fields.update(pipeline_fields(pipe))
    fields["accelerators"] = accelerators.findings(interpreter, pipe, None)
    return fields


def _read_uncalled(interpreter: Interpreter) -> None:
    """Read the functions and classes that the file defines and never uses.

    Such a file is a module for others: its functions are read with their defaults, and what they
    are not given is unknown, except that a parameter named for a pipeline is given the only one
    that the file builds.
    """
    for value in list(interpreter.module.names.values()):
        if isinstance(value, Function) and id(value.node) not in interpreter.entered:
            _try(interpreter, value, None)
        elif isinstance(value, AbstractClass) and value.lineage == () and not value.is_data:
            _read_class(interpreter, value)


def _read_class(interpreter: Interpreter, cls: AbstractClass) -> None:
    methods = [item for item in cls.slots.values() if isinstance(item, Function)]
    if any(id(method.node) in interpreter.entered for method in methods):
        return
    instance = Instance(Names(), cls)
    for method in sorted(methods, key=lambda item: item.name != "__init__"):
        if method.kind == "function" and id(method.node) not in interpreter.entered:
            _try(interpreter, method, instance)


def _try(interpreter: Interpreter, function: Function, receiver: Instance | None) -> None:
    spec = function.node.args
    parameters = [item.arg for item in [*spec.posonlyargs, *spec.args]]
    unknown: Value = Unknown(Why.PARAMETER_NOT_PASSED())
    pipe: Value = interpreter.built[0] if len(interpreter.built) == 1 else unknown
    needed = parameters[: len(parameters) - len(function.defaults)]
    positional = [pipe if name in ("pipe", "pipeline") else unknown for name in needed]
    given = Arguments(positional if receiver is None else [receiver, *positional[1:]])
    pairs = zip(spec.kwonlyargs, function.keyword_defaults, strict=True)
    given.keywords |= {item.arg: unknown for item, default in pairs if default is MISSING}
    if pipe is not unknown:
        by_name = {*parameters[len(needed) :], *(item.arg for item in spec.kwonlyargs)}
        given.keywords |= dict.fromkeys(by_name & {"pipe", "pipeline"}, pipe)
    try:
        functions.call_function(interpreter, function, given, receiver)
    except Raised:
        return
