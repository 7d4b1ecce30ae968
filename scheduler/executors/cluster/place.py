"""Where on a cluster an attempt runs, as its node sees it: its GPUs and their driver, its environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler.devices.model import Device
from scheduler.devices.nvml import Nvml, NvmlUnavailable, within
from scheduler.devices.selection import visible_to_cuda

_PATIENCE = 60.0  # seconds, for a driver's first answer
# What Slurm sets for a job, or its node has of its own; all else is as the dispatcher has it.
_OF_THE_NODE = frozenset(
    {
        *("ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"),
        *("HOSTNAME", "TMPDIR"),
    }
)
# NVIDIA's MPS: what a part of a GPU is, and where the node's daemon is.
_PREFIXES_OF_THE_NODE = ("SLURM_", "SLURMD_", "CUDA_MPS_")


def gpus_here(visible: str) -> dict[str, Any]:
    """Return the GPUs that a node has given to an attempt.

    Args:
        visible: the value of CUDA_VISIBLE_DEVICES there.

    Returns:
        ``gpus`` (each with ``uuid`` and ``name``) and ``driver`` (its version); without NVIDIA's driver there
        are no GPUs, and no version.
    """
    if not visible:
        return {"gpus": []}
    try:
        driver, here = within(_PATIENCE, _look)
    except NvmlUnavailable:
        return {"gpus": []}
    gpus = visible_to_cuda(here, visible)
    return {"gpus": [{"uuid": d.id, "name": d.name} for d in gpus], "driver": driver}


def models_here() -> list[str]:
    """Return the names of the models of GPU that this node has."""
    try:
        return sorted({device.name for device in within(_PATIENCE, _look)[1]})
    except NvmlUnavailable:
        return []


def _look() -> tuple[str | None, list[Device]]:
    nvml = Nvml.open()
    try:
        return nvml.driver_version, nvml.devices()
    finally:
        nvml.close()


def node_environment(
    order: Mapping[str, str], node: Mapping[str, str], place: Mapping[str, Any]
) -> dict[str, str]:
    """Return a worker's environment on its node.

    Args:
        order: what it is to have in common with the dispatcher's.
        node: the job's own.
        place: where it runs; its GPUs are named to the worker as everywhere, by their UUIDs.
    """
    own = {
        name: value
        for name, value in node.items()
        if name in _OF_THE_NODE or name.startswith(_PREFIXES_OF_THE_NODE)
    }
    gpus = ",".join(gpu["uuid"] for gpu in place["gpus"])
    return {**order, **own, "CUDA_VISIBLE_DEVICES": gpus or node.get("CUDA_VISIBLE_DEVICES", "")}
