"""The methods there are: every file of this folder that holds a ``SPEC``."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

import worker.accelerators
from worker.accelerators.spec import AcceleratorSpec


@cache
def specs() -> Mapping[str, AcceleratorSpec]:
    """Return the methods' declarations by name, in the order of labels and rows."""
    folder = worker.accelerators
    names = [item.name for item in pkgutil.walk_packages(folder.__path__, f"{folder.__name__}.")]
    found = [getattr(import_module(name), "SPEC", None) for name in names]
    declared = [spec for spec in found if isinstance(spec, AcceleratorSpec)]
    ordered = sorted(declared, key=lambda spec: (spec.listed, spec.name))
    by_name = {spec.name: spec for spec in ordered}
    if len(by_name) < len(declared):
        taken = sorted(spec.name for spec in declared)
        raise ValueError(f"two accelerators have the same name: {', '.join(taken)}")
    return by_name


def from_inside_out() -> list[AcceleratorSpec]:
    """Return the methods' declarations in the order in which they are installed."""
    return sorted(specs().values(), key=lambda spec: spec.layer)
