"""What is installed on a node, and how that differs from what is installed here."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scheduler.executors.cluster.place import models_here
from scheduler.executors.worker_process import OWN_WORKER

# What an attempt's figures depend on, beside Ray and Python, whose versions Ray compares.
PACKAGES = ("diffusion-sweeps", "torch", "diffusers", "transformers")


def installed_here(folder: str) -> dict[str, Any]:
    """Return what this machine has: versions of packages, models of GPU.

    Args:
        folder: the one that attempts start in.
    """
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "worker": str(OWN_WORKER),
        "has_folder": Path(folder).is_dir(),
        "models": models_here(),
    }


def differences(here: Mapping[str, Any], there: Mapping[str, Any], folder: str) -> Iterator[str]:
    """Yield how a node differs from this machine, as phrases."""
    if "error" in there:
        yield f"cannot start this program: {there['error']}"
        return
    if not there["has_folder"]:
        yield f"has no folder {folder}, in which attempts start"
    for name, version in here["versions"].items():
        if there["versions"].get(name) != version:
            yield f"has {name} {there['versions'].get(name)}, and this machine {version}"
    if there["worker"] != here["worker"]:
        yield f"has this program at {there['worker']}, and this machine at {here['worker']}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
