"""LoRA adapters: loaded, weighted, switched off and on, fused, unloaded.

The state stands among a pipeline's settings under ``lora``. It follows diffusers 0.42 and peft:
adapters are added, not replaced; fused weights stay when the adapters are unloaded, since what is
put back are the layers into which they were merged. Where adapters are changed between fusing and
unloading, peft's layers decide, and the state is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from worker.judging.facts.loading import READING
from worker.judging.facts.signatures import signature
from worker.judging.reasons.codes import Why
from worker.judging.static.arguments import Arguments, without_defaults
from worker.judging.static.joining import digest, fingerprint
from worker.judging.static.objects import AbstractDict, AbstractList, Slots
from worker.judging.static.values import Unknown, Value, is_constant

SETTING = "lora"
_NEUTRAL = READING | {"safe_fusing", "fuse_unet", "fuse_text_encoder", "fuse_transformer"}


class Unclear(Exception):  # noqa: N818  # a turn in the program that is read
    """What a call comes to is up to peft's layers."""


@dataclass(frozen=True)
class State:
    """The adapters of a pipeline.

    ``weights`` are those of ``set_adapters``, by name; None where the last word is a load.
    ``merged`` are adapters that were fused and are still loaded, ``kept`` those that were unloaded.
    """

    loaded: tuple[tuple[str, Value], ...] = ()
    weights: tuple[tuple[str, Value], ...] | None = None
    off: bool = False
    merged: tuple[Value, ...] = ()
    kept: tuple[Value, ...] = ()
    count: int = field(default=0, compare=False)


def call(before: Value, method: str, given: Arguments) -> Value:
    """Return what the setting is after one of the methods of LORA_METHODS.

    Args:
        before: what it was; None if no adapter was loaded.
        method: the method's name.
        given: its arguments.
    """
    arguments = _arguments(method, given)
    try:
        if given.open is not None or not (before is None or isinstance(before, Adapters)):
            raise Unclear
        state = State() if before is None else before.state
        after = _METHODS[method](state, dict(arguments))
    except Unclear:
        keys = (fingerprint(before), method, fingerprint(AbstractDict(arguments)))
        known = None not in keys and given.open is None
        return Unknown(Why.REPEATED_CALL(method=method), digest(*keys) if known else None)
    return Adapters(after) if after != State() else None


def _arguments(method: str, given: Arguments) -> Slots:
    known = signature("pipeline methods", method)
    order, defaults = (known.order, known.defaults) if known else ((), {})
    values = given.named(order, {})
    return without_defaults({k: v for k, v in values.items() if k not in _NEUTRAL}, defaults)


class Adapters(AbstractDict):
    """The setting: what acts at a call, with the state from which it follows."""

    __slots__ = ("state",)

    def __init__(self, state: State) -> None:
        super().__init__(_acting(state))
        self.state = state

    def like(self, slots: Slots) -> AbstractDict:
        """Return what acts as a plain dictionary: what is joined or changed has no state."""
        return AbstractDict(slots)


def _acting(state: State) -> Slots:
    found: Slots = {}
    if state.merged or state.kept:
        found["fused"] = AbstractList.of((*state.kept, *state.merged))
    if not state.off and not state.merged and state.loaded:
        found |= _active(state)
    return found


def _active(state: State) -> Slots:
    """Return the adapters that act, and their weights; of several without any peft chooses."""
    loaded = dict(state.loaded)
    default = tuple((name, 1.0) for name in loaded)
    given = default if state.weights is None else state.weights
    # Their sum does not depend on their order.
    chosen = sorted(given, key=lambda item: repr(fingerprint(loaded[item[0]])))
    weights: Value = AbstractList.of(tuple(weight for _, weight in chosen))
    if state.weights is None and len(loaded) > 1:
        order = fingerprint(tuple(loaded.values()))
        weights = Unknown(Why.REPEATED_CALL(method="load_lora_weights"), order)
    return {
        "adapters": AbstractList.of(tuple(loaded[name] for name, _ in chosen)),
        "weights": weights,
    }


def _load(state: State, arguments: Slots) -> State:
    name = arguments.pop("adapter_name", f"default_{state.count}")
    hotswap = arguments.pop("hotswap", False)
    if state.off or state.merged or hotswap is not False or not isinstance(name, str):
        raise Unclear
    if name in dict(state.loaded):  # diffusers refuses it
        raise Unclear
    loaded = (*state.loaded, (name, AbstractDict(arguments)))
    return replace(state, loaded=loaded, weights=None, count=state.count + 1)


def _set(state: State, arguments: Slots) -> State:
    names = _names(arguments.get("adapter_names"))
    given = arguments.get("adapter_weights", 1.0)
    weights = _items(given)
    if weights is None:
        weights = (given,) * len(names)
    known = all(isinstance(weight, (int, float)) for weight in weights)
    if state.merged or not known or len(weights) != len(names):
        raise Unclear
    if not set(names) <= dict(state.loaded).keys():
        raise Unclear
    return replace(state, weights=tuple(zip(names, weights, strict=True)))


def _disable(state: State, arguments: Slots) -> State:
    if state.merged:
        raise Unclear
    return replace(state, off=bool(state.loaded))


def _enable(state: State, arguments: Slots) -> State:
    if state.merged:
        raise Unclear
    return replace(state, off=False)


def _fuse(state: State, arguments: Slots) -> State:
    if state.merged or state.off:
        raise Unclear
    if not state.loaded:
        return state
    chosen = state
    if "adapter_names" in arguments:
        names = _names(arguments.pop("adapter_names"))
        weights = dict(state.weights or [(name, 1.0) for name, _ in state.loaded])
        if not set(names) <= weights.keys():
            raise Unclear
        chosen = replace(state, weights=tuple((name, weights[name]) for name in names))
    return replace(state, merged=(AbstractDict(_active(chosen) | arguments),))


def _unfuse(state: State, arguments: Slots) -> State:
    if state.merged and arguments:
        raise Unclear
    return replace(state, merged=())


def _unload(state: State, arguments: Slots) -> State:
    return State(kept=(*state.kept, *state.merged), count=state.count)


def _delete(state: State, arguments: Slots) -> State:
    names = _names(arguments.get("adapter_names"))
    loaded = tuple(item for item in state.loaded if item[0] not in names)
    weights = state.weights
    if weights is not None:
        weights = tuple(item for item in weights if item[0] not in names)
    if state.merged or (loaded and weights == ()):  # peft then chooses another one
        raise Unclear
    if not loaded:
        return State(kept=state.kept, count=state.count)
    return replace(state, loaded=loaded, weights=weights)


def _names(value: Value) -> tuple[str, ...]:
    items = (value,) if isinstance(value, str) else _items(value)
    if items is None or not all(isinstance(item, str) for item in items):
        raise Unclear
    return tuple(item for item in items if isinstance(item, str))


def _items(value: Value) -> tuple[Value, ...] | None:
    items = value.items if isinstance(value, AbstractList) else value
    return items if isinstance(items, tuple) and is_constant(items) else None


_METHODS: dict[str, Callable[[State, Slots], State]] = {
    "load_lora_weights": _load,
    "set_adapters": _set,
    "disable_lora": _disable,
    "enable_lora": _enable,
    "fuse_lora": _fuse,
    "unfuse_lora": _unfuse,
    "unload_lora_weights": _unload,
    "delete_adapters": _delete,
}
