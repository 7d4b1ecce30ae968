"""The families there are: every file of this folder that holds a ``FAMILY``."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from worker.models import families as folder
from worker.models.families.base import Architecture, Family


@cache
def families() -> Mapping[str, Family]:
    """Return the families by name, in the order in which pipes are listed."""
    names = [item.name for item in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}.")]
    found = [getattr(import_module(name), "FAMILY", None) for name in names]
    declared = [family for family in found if isinstance(family, Family)]
    return {family.name: family for family in sorted(declared, key=lambda family: family.name)}


def family_of(architecture: Architecture) -> Family:
    """Return the family of pipelines that an architecture belongs to."""
    return families()[architecture.family]


def buildable() -> dict[str, Family]:
    """Return the family of each architecture that can be built with random weights, by its name."""
    return {name: family for family in families().values() for name in family.published}
