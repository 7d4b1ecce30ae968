"""The packages whose names are modelled."""

from __future__ import annotations

from collections.abc import Mapping

from worker.accelerators.registry import specs
from worker.accelerators.spec import PublishedPackage

# By the names of the methods, in the order in which they are told.
ACCELERATOR_PACKAGES: Mapping[str, PublishedPackage] = {
    name: spec.package for name, spec in specs().items() if spec.package is not None
}
# By the names under which they are imported.
IMPORTED_PACKAGES: Mapping[str, PublishedPackage] = {
    package.name: package for package in ACCELERATOR_PACKAGES.values()
}
# Packages whose names are modelled.
PACKAGES = frozenset({"diffusers", *IMPORTED_PACKAGES})
