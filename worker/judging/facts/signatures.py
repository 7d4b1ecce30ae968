"""Signatures of diffusers' pipelines, noise schedulers, methods and configurations.

Read from diffusers.json, which read_diffusers.py writes. Defaults that are no plain values are left
out: what has one is as good as required here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Group = Literal["schedulers", "values", "pipeline methods", "model methods"]


@dataclass(frozen=True)
class Signature:
    """A function's parameters in order, the defaults, and whether it takes any other keyword."""

    order: tuple[str, ...]
    defaults: Mapping[str, object]
    takes_more: bool


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((Path(__file__).parent / "diffusers.json").read_text())
    return data


def _signature(parameters: Mapping[str, list[object]]) -> Signature:
    defaults = {
        name: tuple(default[0]) if isinstance(default[0], list) else default[0]
        for name, default in parameters.items()
        if default
    }
    return Signature(
        tuple(name for name in parameters if name != "**"), defaults, "**" in parameters
    )


@cache
def signature(group: Group, name: str) -> Signature | None:
    """Return a signature from one of the groups of diffusers.json, None if there is none."""
    parameters = _data()[group].get(name)
    return None if parameters is None else _signature(parameters)


@cache
def call_of(pipeline: str) -> Signature | None:
    """Return the signature of a pipeline class's call, None for a class that is not known."""
    known = _data()["pipelines"].get(pipeline)
    return None if known is None else _signature(known["call"])


@cache
def parts_of(pipeline: str) -> frozenset[str] | None:
    """Return the parts that a pipeline class is made of, None for a class that is not known."""
    known = _data()["pipelines"].get(pipeline)
    return None if known is None else frozenset(known["parts"])


@cache
def ancestors_of(pipeline: str) -> frozenset[str] | None:
    """Return a pipeline class and what it inherits from, None for a class that is not known."""
    known = _data()["pipelines"].get(pipeline)
    if known is None:
        return None
    inherited = (ancestors_of(base) or {base} for base in known["bases"])
    return frozenset({pipeline}).union(*inherited)


def scheduler_signature(scheduler: object) -> Signature | None:
    """Return the signature of a noise scheduler's class, None if it is not known."""
    return signature("schedulers", scheduler) if isinstance(scheduler, str) else None
