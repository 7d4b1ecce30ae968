"""What a file builds and calls, read from its text alone."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from worker.judging import source
from worker.judging.reasons.codes import Reason, Why
from worker.judging.static.arguments import Arguments
from worker.judging.static.interpreter.calls import HARMLESS
from worker.judging.static.interpreter.statements import Reader
from worker.judging.static.interpreter_base import Abandoned, Raised
from worker.judging.static.libraries import accelerators, pipelines
from worker.judging.static.operations.attributes import PACKAGES
from worker.judging.static.values import (
    ITEMS,
    AbstractClass,
    AbstractDict,
    AbstractList,
    Call,
    Function,
    Instance,
    Lib,
    Names,
    Pipeline,
    Slots,
    Unknown,
    Value,
    is_constant,
)

FIELDS = (
    "pipeline",
    "model_id",
    "scheduler",
    "scheduler_args",
    "steps",
    "accelerators",
    "dtype",
    "device",
    "guidance",
    "height",
    "width",
    "batch",
    "images_per_prompt",
    "prompt",
    "negative_prompt",
    "call_options",
    "components",
    "settings",
)
# Fields that only a call has.
CALL_FIELDS = frozenset(
    [
        "steps",
        "guidance",
        "height",
        "width",
        "batch",
        "images_per_prompt",
        "prompt",
        "negative_prompt",
        "call_options",
    ]
)
MAX_NESTING = 6
MAX_VALUES = 50_000
NOT_CALLED = "no call"  # what a call's field holds where no pipeline is called
NO_PIPELINE = "no pipeline"


@dataclass(frozen=True)
class Findings:
    """The fields of a file's last pipeline call, and remarks for the reader.

    Every field of FIELDS is there; a value is plain data, or Unknown, or a dictionary or list
    with such values.
    """

    fields: dict[str, Value]
    notes: list[Reason] = field(default_factory=list)


def extract(data: bytes) -> Findings:
    """Read what a file's last pipeline call does.

    Raises:
        SourceError: the bytes are not Python; the message says why.
    """
    tree = source.parse(data)
    reader = Reader()
    try:
        fields = _read(reader, tree)
    except Abandoned as error:
        fields = dict.fromkeys(FIELDS, Unknown(error.reason))
        reader.note(error.reason)
    except (RecursionError, MemoryError):
        fields = dict.fromkeys(FIELDS, Unknown(Why.NESTED_TOO_DEEPLY()))
    room = [MAX_VALUES]
    return Findings({name: _told(fields[name], room) for name in FIELDS}, list(reader.notes))


def untouched(findings: Findings) -> Findings:
    """Return what a file does that loads the same pipeline and sets nothing: the defaults."""
    reader = Reader()
    name = findings.fields["pipeline"]
    if not isinstance(name, str):
        return Findings(dict.fromkeys(FIELDS, Unknown(Why.PIPELINE_DEFAULTS())))
    model = Arguments([findings.fields["model_id"]])
    reader.call(pipelines.build(reader, name, "from_pretrained", model), Arguments())
    call = reader.world["call"]
    slots = call.slots if isinstance(call, Call) else {}
    return Findings({name: _told(slots.get(name), [MAX_VALUES]) for name in FIELDS})


def _told(value: Value, room: list[int], depth: int = 0) -> Value:
    """Return a field's value as plain data; what is an object, or set elsewhere, is unknown.

    ``room`` holds how many values may still be told: a small file can nest a few dictionaries in
    each other so that they unfold into billions.
    """
    room[0] -= 1
    if depth > MAX_NESTING or room[0] < 0:
        return Unknown(Why.VALUE_NESTED_TOO_DEEPLY())
    if isinstance(value, Lib) and value.root not in ("torch", "diffusers"):
        return Unknown(Why.SET_ELSEWHERE(name=value.path))
    if isinstance(value, AbstractDict):
        return AbstractDict(
            {key: _told(item, room, depth + 1) for key, item in value.slots.items()}
        )
    items = value.slots[ITEMS] if isinstance(value, AbstractList) else value
    if isinstance(items, tuple):
        return AbstractList.of(tuple(_told(item, room, depth + 1) for item in items))
    if is_constant(value) or isinstance(value, (Lib, Unknown)):
        return value
    return items if isinstance(items, Unknown) else Unknown(Why.PROGRAM_OBJECT())


def _read(reader: Reader, tree: ast.Module) -> Slots:
    reader.module.names["__name__"] = "__main__"
    raised: Raised | None = None
    try:
        reader.run_block(tree.body, reader.module)
    except Raised as error:
        if error.exception != "SystemExit":
            raised = error
            reader.note(Why.FILE_FAILS(error.reason))
    reader.settle(frozenset({"return", "break", "continue"}), 0)
    if reader.world.get("call") is None and raised is None:
        _read_uncalled(reader)
    call = reader.world.get("call")
    if isinstance(call, Call):
        return dict(call.slots)
    if isinstance(call, Unknown):
        return dict.fromkeys(FIELDS, call)
    return _without_call(reader)


def _without_call(reader: Reader) -> Slots:
    """Return the fields of a file that builds a pipeline, perhaps, and calls none."""
    if not reader.built:
        reader.note(Why.NO_PIPELINE_BUILT())
        elsewhere = [
            value.path
            for value in reader.module.names.values()
            if isinstance(value, Lib) and value.root not in HARMLESS | PACKAGES
        ]
        if not elsewhere:
            return dict.fromkeys(FIELDS, NO_PIPELINE)
        return dict.fromkeys(FIELDS, Unknown(Why.BUILDS_PIPELINE(name=elsewhere[0])))
    pipe = reader.built[-1]
    fields: Slots = dict.fromkeys(CALL_FIELDS, NOT_CALLED)
    fields.update(pipelines.pipeline_fields(pipe))
    fields["accelerators"] = accelerators.findings(reader, pipe, None)
    return fields


def _read_uncalled(reader: Reader) -> None:
    """Read the functions and classes that the file defines and never uses.

    Such a file is a module for others: its functions are read with their defaults, and what they
    are not given is unknown, except that a parameter named for a pipeline is given the only one
    that the file builds.
    """
    for value in list(reader.module.names.values()):
        if isinstance(value, Function) and id(value.node) not in reader.entered:
            _try(reader, value, None)
        elif isinstance(value, AbstractClass) and value.lineage == () and not value.is_data:
            _read_class(reader, value)


def _read_class(reader: Reader, cls: AbstractClass) -> None:
    methods = [item for item in cls.slots.values() if isinstance(item, Function)]
    if any(id(method.node) in reader.entered for method in methods):
        return
    instance = Instance(Names(), cls)
    for method in sorted(methods, key=lambda item: item.name != "__init__"):
        if method.kind == "function" and id(method.node) not in reader.entered:
            _try(reader, method, instance)


def _try(reader: Reader, function: Function, receiver: Instance | None) -> None:
    spec = function.node.args
    names = [item.arg for item in [*spec.posonlyargs, *spec.args]]
    given = Arguments([] if receiver is None else [receiver])
    if len(reader.built) == 1:
        pipe: Pipeline = reader.built[0]
        given.keywords.update({name: pipe for name in names if name in ("pipe", "pipeline")})
    try:
        reader.call_function(function, given, receiver)
    except Raised:
        return
