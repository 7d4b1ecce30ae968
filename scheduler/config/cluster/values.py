"""Kinds of values that the sections of all clusters have."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StrictInt

from scheduler.config.units import parse_size

MOST = 4096  # attempts at once, cores of one


def given(value: object) -> object:
    """Let pass anything but an empty key, which an optional one would take for its absence."""
    if value is None:
        raise ValueError
    return value


def _memory(value: object) -> int:
    size = parse_size(value)
    if size <= 0:
        raise ValueError("must be more than nothing: what one attempt needs of a node, as in 64GiB")
    return size


Count = Annotated[Annotated[StrictInt, Field(ge=1, le=MOST)] | None, BeforeValidator(given)]
Memory = Annotated[int | None, BeforeValidator(_memory)]
