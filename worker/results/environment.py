"""On what, and with which versions, a measurement was made."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from worker.accelerators.registry import specs

# what times or images follow from
_PACKAGES = (
    *("torch", "diffusers", "transformers"),
    *dict.fromkeys(package for spec in specs().values() for package in spec.needs),
    *("open_clip_torch", "torchmetrics"),
)


def describe(device: str) -> dict[str, object]:
    """Return the device, its driver, the libraries' versions and this project's commit."""
    import torch

    described: dict[str, object] = {"device": _processor(), "driver": None, "threads": None}
    if device.startswith("cuda"):
        described["device"] = torch.cuda.get_device_name(device)
        described["driver"] = _driver()
    else:
        described["threads"] = torch.get_num_threads()
    described["python"] = platform.python_version()
    described["versions"] = {name: _version(name) for name in _PACKAGES}
    described["commit"] = _commit()
    return described


def agree(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Say whether what was measured in one environment can be compared with another's rows.

    Args:
        there: of a row. What it does not name, because the accelerator that needs the package was
            added later, it does not depend on.
        here: as ``describe`` returns it.
    """
    versions = there.get("versions")
    return (
        all(there.get(key) == here[key] for key in ("device", "driver", "threads"))
        and isinstance(versions, Mapping)
        and {"torch", "diffusers"} <= versions.keys()
        and all(here["versions"].get(name) == found for name, found in versions.items())
    )


def _processor() -> str:
    """Return the CPU's model name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _driver() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            driver: str = pynvml.nvmlSystemGetDriverVersion()
            return driver
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of a checkout, or what DIFFUSION_SWEEPS_COMMIT says where there is none."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
        found = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        found = ""
    return found or os.environ.get("DIFFUSION_SWEEPS_COMMIT") or None
