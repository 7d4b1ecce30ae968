"""What the nodes of a Ray cluster have: its own word of them, and what is installed there."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from scheduler.executors.ray.messages import last_words
from scheduler.executors.ray.node_check import installed_here

_TO_LOOK = 45.0  # seconds until a node has told what is installed there


def look_at_nodes(folder: str) -> list[dict[str, Any]]:
    """Return what the cluster's nodes have, and what is installed on those that can run anything."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = {}
    for node in nodes:
        if node["Resources"].get("CPU"):
            on = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = ray.remote(installed_here).options(
                num_cpus=0, max_retries=0, scheduling_strategy=on
            )
            asked[node["NodeID"]] = look.remote(folder)
    return [_node(node, _installed(asked.get(node["NodeID"]))) for node in nodes]


def _installed(asked: Any) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = None if asked is None else ray.get(asked, timeout=_TO_LOOK)
    except RayError as error:
        return {"error": last_words(error)}
    return found


def _node(node: dict[str, Any], installed: dict[str, Any] | None) -> dict[str, Any]:
    resources = node["Resources"]
    names = {"gpus": "GPU", "cpus": "CPU", "memory": "memory"}
    return {
        "address": node["NodeManagerAddress"],
        **{key: resources.get(name, 0.0) for key, name in names.items()},
        "installed": installed,
    }
