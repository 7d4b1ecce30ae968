"""Values of axes, and what they look like in a task's id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TypeAlias

from scheduler.config.placeholders import fill

Scalar = str | int | float | bool
Value: TypeAlias = "Scalar | list[Value] | dict[str, Value]"


def value_text(value: Value, *, is_path: bool = False) -> str:
    """Return a value as ids show it: ``1,2`` for a list, ``a=1,b=2`` for a mapping, of a path the name."""
    if isinstance(value, dict):
        return ",".join(f"{key}={value_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ",".join(map(value_text, value))
    return PurePath(str(value)).name if is_path else str(value)


def is_meant(written: Value, value: Value, *, is_path: bool = False) -> bool:
    """Say whether what a rule has ``written`` is a value: as ids show it, lists and mappings as they are."""
    if isinstance(written, list | dict) or isinstance(value, list | dict):
        return written == value
    return str(written) == value_text(value, is_path=is_path)


def task_id(values: Sequence[Value], globbed: Sequence[bool]) -> str:
    """Join matrix values to an id; of a path that a glob found, the name counts."""
    return "_".join(
        value_text(value, is_path=is_path) for value, is_path in zip(values, globbed, strict=True)
    )


def templated_id(template: str, texts: Mapping[str, str]) -> str:
    """Return the id that a template gives a task: ``{axis}`` is filled in, with ``--`` for each ``/``.

    So do the caches of model hubs: ``org/model`` becomes ``org--model``.

    Raises:
        KeyError: the template names what is no axis.
    """
    return fill(template, {axis: text.replace("/", "--") for axis, text in texts.items()})
