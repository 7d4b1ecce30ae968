"""Arguments that only say what holds anyway."""

from __future__ import annotations

from collections.abc import Mapping

from worker.judging.static.joining import same
from worker.judging.static.objects import AbstractList, Slots
from worker.judging.static.values import Value


def is_default(value: Value, default: Value) -> bool:
    """Whether an argument is certainly this default; 1 is as good as 1.0, a list as a tuple."""
    if isinstance(value, AbstractList):
        value = value.items
    if isinstance(value, tuple) and isinstance(default, tuple):
        pairs = zip(value, default, strict=False)
        return len(value) == len(default) and all(is_default(*pair) for pair in pairs)
    return same(value, default) or (_is_number(value) and _is_number(default) and value == default)


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def without_defaults(arguments: Slots, defaults: Mapping[str, object]) -> Slots:
    """Return the arguments that are not, or may not be, the defaults."""
    return {
        name: value
        for name, value in arguments.items()
        if not (name in defaults and is_default(value, defaults[name]))
    }
