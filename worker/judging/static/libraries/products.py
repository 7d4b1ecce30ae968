"""What libraries make of values: configurations and callbacks, images and tensors, outputs of calls.

An image loaded from the same place and resized alike is the same image, and equal calls have equal
outputs. Nothing of it is computed: ``Computed`` keeps the function and its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.judging.facts.functions import FUNCTIONS, METHODS
from worker.judging.facts.signatures import signature
from worker.judging.reasons.codes import Reason, Why
from worker.judging.static.arguments import Arguments, without_defaults
from worker.judging.static.interpreter.effects import taint
from worker.judging.static.interpreter.interpreter import Interpreter, Raised
from worker.judging.static.joining import clone, digest, fingerprint, reachable
from worker.judging.static.objects import (
    AbstractDict,
    AbstractList,
    AbstractObject,
    Computed,
    Made,
    Part,
    Product,
    Slots,
)
from worker.judging.static.values import MISSING, Unknown, Value, is_constant


def make(name: str, given: Arguments) -> Made | None:
    """Return what a class makes of these arguments; None for a class that is not known.

    Raises:
        Raised: the class takes no such argument.
    """
    known = signature("values", name)
    if known is None or len(given.positional) > len(known.order):
        return None
    arguments: Slots = given.named(known.order, {})
    unexpected = set(arguments) - set(known.order)
    if unexpected and not known.takes_more:
        raise Raised("TypeError", Why.TAKES_NO(function=name, name=min(unexpected)))
    slots = {Made.cls: name, **without_defaults(arguments, known.defaults)}
    if given.open is not None:
        slots[Made.open] = given.open
    return Made(slots)


_CALL = "a pipeline's call"
_DEEPEST = 40  # of values computed from values


def compute(
    interpreter: Interpreter, function: str, why: Reason, arguments: Sequence[Value], name: str = ""
) -> Value:
    """Return what a function that does nothing else makes of these values."""
    settled = tuple(as_of_now(interpreter, item) for item in arguments)
    made = [item for item in _computed(settled) if isinstance(item.owner, Product)]
    depth = 1 + max((item.depth for item in made), default=0)
    parents = tuple(item.owner for item in _computed(arguments) if isinstance(item.owner, Product))
    owner = Product({}, parents, from_pipeline=function == _CALL)
    if depth > _DEEPEST:
        return Part(why, owner=owner)
    keys = [fingerprint(item) for item in settled]
    key = None if None in keys else digest(function, *keys)
    return Computed(
        why, key, owner=owner, name=name, function=function, arguments=settled, depth=depth
    )


def _computed(values: Sequence[Value]) -> list[Computed]:
    """Return the values computed among these, and in lists of them."""
    found: list[Computed] = []
    for value in values:
        items = value.items if isinstance(value, AbstractList) else value
        if isinstance(value, Computed):
            found.append(value)
        elif isinstance(items, tuple):
            found.extend(_computed(items))
    return found


def as_of_now(interpreter: Interpreter, value: Value) -> Value:
    """Return a value that no later change reaches; unknown where something was changed before."""
    if isinstance(value, Computed):
        return value if _intact(value.owner) else Unknown(Why.MAY_BE_CHANGED(value.why))
    if isinstance(value, AbstractList) and isinstance(value.items, tuple):
        return AbstractList.of(tuple(as_of_now(interpreter, item) for item in value.items))
    if isinstance(value, tuple) and not is_constant(value):
        return tuple(as_of_now(interpreter, item) for item in value)
    return clone(value, interpreter.spend)


def _intact(owner: AbstractObject) -> bool:
    return all(
        not isinstance(item, Product) or item.changed is MISSING for item in reachable([owner])
    )


def call_function(interpreter: Interpreter, path: str, given: Arguments) -> Value:
    """Return what a library's function makes of its arguments; MISSING for one not known here."""
    place = next(iter(given.positional), None)
    if path == "cv2.imwrite":
        _note_written(interpreter, place)
    if path not in FUNCTIONS or given.open is not None or _may_be_written(interpreter, place):
        return MISSING
    # Many functions take an array that they write to.
    written = [given.keywords.get("out"), given.keywords.get("dst"), given.keywords.get("edges")]
    written += given.positional[1:] if path.startswith("cv2.") else []
    if _computed(written):
        taint(interpreter, written, Why.FUNCTION(path=path))
        return Unknown(Why.RESULT(function=path))
    arguments = [*given.positional, AbstractDict(dict(sorted(given.keywords.items())))]
    return compute(interpreter, path, Why.RESULT(function=path), arguments)


def _note_written(interpreter: Interpreter, place: Value) -> None:
    """Note that a file was written: what is read there later is not what it was."""
    interpreter.store.put(interpreter.written, place if isinstance(place, str) else None, True)


def _may_be_written(interpreter: Interpreter, place: Value) -> bool:
    """Whether the program may have written what it reads here."""
    return isinstance(place, str) and not interpreter.written.keys().isdisjoint({place, None})


def attribute(interpreter: Interpreter, owner: Computed, name: str) -> Value:
    """Return an attribute of something computed, or one of its methods."""
    return compute(interpreter, f".{name}", owner.why, [owner], name)


def element_of(interpreter: Interpreter, owner: Computed, key: Value) -> Value:
    """Return an element, or a part, of something computed."""
    if owner.function == _CALL and key == 0:  # its only item, whatever the class names it
        return attribute(interpreter, owner, "images")
    return compute(interpreter, "[]", owner.why, [owner, _plain_key(key)])


def _plain_key(key: Value) -> Value:
    if isinstance(key, slice):
        return ("slice", key.start, key.stop, key.step)
    return tuple(map(_plain_key, key)) if isinstance(key, tuple) else key


def call_method(interpreter: Interpreter, method: Computed, given: Arguments) -> Value:
    """Return what a method of something computed makes; None if it may change it."""
    if method.name not in METHODS or given.open is not None:
        return None
    if method.name == "save":
        _note_written(interpreter, next(iter(given.positional), None))
    (owner,) = method.arguments
    rest = AbstractDict(dict(sorted(given.keywords.items())))
    return compute(interpreter, f".{method.name}()", method.why, [owner, *given.positional, rest])


def output(interpreter: Interpreter, fields: Slots) -> Value:
    """Return what a pipeline's call returns, by what the call was."""
    return compute(interpreter, _CALL, Why.PIPELINE_OUTPUT(), [AbstractDict(fields)])


def fed_accelerators(arguments: Slots) -> Slots:
    """Return the accelerators of the calls whose outputs a pipeline is given."""
    found: Slots = {}
    for name, value in arguments.items():
        for made in _outputs_in(value):
            (call,) = made.arguments
            before = call.slots["accelerators"] if isinstance(call, AbstractDict) else None
            if isinstance(before, AbstractDict):
                found |= {f"{key} of {name}": entry for key, entry in before.slots.items()}
            else:
                found[f"of {name}"] = before
    return found


def _outputs_in(value: Value) -> list[Computed]:
    """Return the outputs of calls from which a value was computed, each once."""
    seen: dict[int, Computed] = {}
    waiting = _computed([value])
    while waiting:
        made = waiting.pop()
        if id(made) not in seen:
            seen[id(made)] = made
            waiting.extend(_computed(made.arguments) if made.function != _CALL else ())
    return [made for made in seen.values() if made.function == _CALL]
