"""What a node has for attempts, and how that differs from what is here."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scheduler.executors.cluster import versions
from scheduler.executors.cluster.place import models_here
from scheduler.executors.worker_process import OWN_WORKER


def installed_here(folder: str) -> dict[str, Any]:
    """Return what this machine has: versions of packages, this program and a folder, models of GPU.

    Args:
        folder: the one that attempts start in.
    """
    return {
        "versions": versions.installed(sys.path),
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
    if other := list(versions.differences(there["versions"], here["versions"])):
        yield f"has other versions than this machine: {', '.join(other)}"
    if there["worker"] != here["worker"]:
        yield f"has this program at {there['worker']}, and this machine at {here['worker']}"
