"""Values compared, joined where two paths meet, and copied."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TypeAlias

from worker.judging.static.objects import (
    AbstractClass,
    AbstractDict,
    AbstractList,
    AbstractObject,
    Component,
    Field,
    Helper,
    Instance,
    Lazy,
    Made,
    Part,
    Pipeline,
    Product,
    Scheduler,
    SchedulerConfig,
    Slots,
)
from worker.judging.static.scopes import Bound
from worker.judging.static.values import (
    CONSTANTS,
    MAX_KEY,
    MISSING,
    SLOT,
    Lib,
    Unknown,
    Value,
    is_constant,
    weight,
)

Spend: TypeAlias = "Callable[[float], None]"  # counts work, and raises when there was too much


def same(left: Value, right: Value) -> bool:
    """Whether two values are certainly the same (``True`` and ``1`` are not)."""
    if left is right:
        return True
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Unknown) and isinstance(right, Unknown):
        return left.key is not None and left.key == right.key
    if isinstance(left, (Lib, *CONSTANTS)):
        return type(left) is type(right) and left == right
    return False


def join(
    left: Value,
    right: Value,
    why: Unknown,
    spend: Spend,
    joined: dict[tuple[int, int], Value] | None = None,
) -> Value:
    """Return what is known of a value that is ``left`` on one path and ``right`` on the other."""
    if same(left, right):
        return left
    joined = {} if joined is None else joined  # each pair once: what is joined may hold itself
    pair = (id(left), id(right))
    if pair in joined:
        return joined[pair]
    if (
        isinstance(left, AbstractObject)
        and isinstance(right, AbstractObject)
        and _alike(left, right)
    ):
        slots: Slots = type(left.slots)()
        result = joined[pair] = left.like(slots)
        spend(1 + SLOT * (len(left.slots) + len(right.slots)))
        for key in left.slots | right.slots:
            one, other = left.slots.get(key, MISSING), right.slots.get(key, MISSING)
            slots[key] = join(one, other, why, spend, joined)
        return result
    part = next((side for side in (left, right) if isinstance(side, Part)), None)
    if part is not None:
        return replace(part.inner(), root="")
    choice: Hashable = None
    if why.key is not None and (left_key := key_of(left)) and (right_key := key_of(right)):
        choice = digest(why.key, left_key, right_key)
    return Unknown(left.why if isinstance(left, Unknown) else why.why, choice)


def _alike(left: AbstractObject, right: AbstractObject) -> bool:
    """Whether two objects are of one kind, so that they can be joined slot by slot."""
    if isinstance(left, AbstractClass):
        return False
    if isinstance(left, Instance) and isinstance(right, Instance):
        return left.cls is right.cls
    if isinstance(left, Lazy) and isinstance(right, Lazy):
        return left.produce is right.produce
    return type(left) is type(right)


def key_of(value: Value) -> Hashable:
    """Return what two values have in common that are certainly the same, None if nothing has."""
    if isinstance(value, Unknown):
        return value.key
    if weight(value, MAX_KEY) > MAX_KEY or not (is_constant(value) or isinstance(value, Lib)):
        return None
    return (type(value).__name__, repr(value))


def fingerprint(value: Value, made: dict[int, Hashable] | None = None) -> Hashable:
    """Return a key that is the same for values that are alike now, whatever they are made of.

    None where something in them is not known. Unlike ``key_of`` it holds for what can change, and
    only until then. Each object is looked at once: a small file can nest a few in each other so
    that they unfold into billions.
    """
    made = {} if made is None else made
    if value is MISSING:
        return "missing"
    if not isinstance(value, AbstractObject):
        if isinstance(value, tuple) and not is_constant(value):
            return _all_known("tuple", [fingerprint(item, made) for item in value])
        return key_of(value)
    if id(value) not in made:
        made[id(value)] = None  # also of what holds itself
        made[id(value)] = _fingerprint_object(value, made)
    return made[id(value)]


def _fingerprint_object(value: AbstractObject, made: dict[int, Hashable]) -> Hashable:
    if isinstance(value, AbstractList):
        return fingerprint(value.items, made)
    if not isinstance(value, (AbstractDict, Made)):
        return None
    keys: list[Hashable] = []
    for slot, item in sorted(value.slots.items(), key=lambda entry: repr(entry[0])):
        keys += [repr(slot) if isinstance(slot, Field) else key_of(slot), fingerprint(item, made)]
    return _all_known("entries", keys)


def _all_known(kind: str, keys: list[Hashable]) -> Hashable:
    return None if None in keys else digest(kind, *keys)


def digest(*keys: Hashable) -> str:
    """Return one key for several, never larger however often keys are made of keys."""
    return hashlib.sha256(repr(keys).encode()).hexdigest()


def shallow(value: Value) -> Value:
    """Return a copy of the outermost object alone."""
    if not isinstance(value, AbstractObject) or isinstance(value, AbstractClass):
        return value
    return value.like(type(value.slots)(value.slots))


def clone(value: Value, spend: Spend, made: dict[int, Value] | None = None) -> Value:
    """Return a copy that later changes do not reach."""
    made = {} if made is None else made
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, tuple):
        spend(SLOT * len(value))
        return tuple(clone(item, spend, made) for item in value)
    if not isinstance(value, AbstractObject) or isinstance(value, AbstractClass):
        return value
    slots: Slots = type(value.slots)()
    result = made[id(value)] = value.like(slots)
    spend(1 + SLOT * len(value.slots))
    for key, item in value.slots.items():
        slots[key] = clone(item, spend, made)
    return result


_CHANGEABLE = (
    *(Pipeline, Component, Helper, Scheduler, Made, Product, Instance, AbstractDict),
    AbstractList,
)


def reachable(values: list[Value]) -> list[AbstractObject]:
    """Return the things that a function given these values could change."""
    seen: dict[int, AbstractObject] = {}
    waiting = list(values)
    while waiting and len(seen) < 500:
        value = waiting.pop()
        if id(value) in seen:
            continue
        if isinstance(value, tuple):
            waiting.extend(value)
        elif isinstance(
            value,
            _CHANGEABLE,
        ):
            seen[id(value)] = value
            if isinstance(value, Product):
                waiting.extend(value.parents)
            # A part does not lead to what was done to its pipeline.
            waiting.extend(value.slots[key] for key in value.slots if key is not Component.home)
        elif isinstance(value, Bound):
            waiting.append(value.receiver)
        elif isinstance(value, Part):
            waiting.append(value.owner)
        elif isinstance(value, SchedulerConfig):
            waiting.append(value.of)
    return list(seen.values())
