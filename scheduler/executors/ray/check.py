"""Whether a Ray cluster would take a sweep's attempts, asked before any is started; and how many at once."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.config.cluster.settings import RaySettings
from scheduler.config.units import format_duration, format_size
from scheduler.devices.model import Device
from scheduler.executors.cluster.found import MOST_SLOTS, ClusterUnusable, Found
from scheduler.executors.ray.link import words
from scheduler.executors.ray.node_check import differences, installed_here
from scheduler.storage.json_files import parse_object

_TO_CONNECT = 5.0  # seconds
_TO_ANSWER = 60.0  # seconds
_DELTA = 1e-6  # parts of a GPU are floats


def find_slots(settings: RaySettings) -> Found:
    """Return room for a sweep's attempts.

    Raises:
        ClusterUnusable: the package or the cluster is not there, is open to the internet, or has no node on
            which such an attempt can ever run.
    """
    if importlib.util.find_spec("ray") is None:
        raise ClusterUnusable(
            "executor: the package ray is not here; pip install 'diffusion-sweeps[ray]', or start it with "
            "--executor local"
        )
    nodes = _nodes(settings.address)
    for node in nodes:
        if _is_public(node["address"]):
            raise ClusterUnusable(
                f"executor.address: Ray's node {node['address']} has a public address, where anybody can run "
                "programs on it; have Ray listen at a private one (--node-ip-address, a firewall)"
            )
    room = sum(_room(node, settings) for node in nodes)
    if not room:
        raise ClusterUnusable(_no_room(nodes, settings))
    _require_alike(nodes)
    number = settings.at_most or min(room, MOST_SLOTS)
    where = f"Ray at {settings.address}: {number} attempt(s) at once, each with {_words(settings)}"
    return Found(slots(number, settings), where, remark_on_models(nodes, settings))


def slots(number: int, settings: RaySettings) -> list[Device]:
    """Return so many slots; the ids of those without a GPU tell that they are none."""
    prefix = "" if settings.on_gpus else "cpu:"
    name = f"Ray actor ({_words(settings)})"
    return [Device(f"{prefix}ray:{n}", name, f"ray:{n}", "slot") for n in range(number)]


def remark_on_models(nodes: Sequence[Mapping[str, Any]], settings: RaySettings) -> str | None:
    """Say so if attempts would run on GPUs of several models."""
    models = sorted({m for node in nodes for m in (node["installed"] or {}).get("models", ())})
    if not settings.on_gpus or len(models) < 2:
        return None
    return (
        f"executor: GPUs of {len(models)} models ({', '.join(models)}) would be used; their times do not "
        "compare: have nodes of one model in the cluster"
    )


def _nodes(address: str) -> list[dict[str, Any]]:
    """Return the cluster's nodes.

    Raises:
        ClusterUnusable: they cannot be had.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise ClusterUnusable(
            f"executor.address: nothing answers at {address} ({getattr(error, 'strerror', None) or error}); "
            "start Ray there (ray start --head), or give the address that it has printed"
        ) from None
    try:
        done = subprocess.run(
            words("nodes", address),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TO_ANSWER,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"it has not answered for {format_duration(_TO_ANSWER)}"
        raise ClusterUnusable(f"executor.address: Ray at {address}: {why}") from None
    said = parse_object(done.stdout) or {"why": f"its driver ended with {done.returncode}"}
    if said.get("type") == "nodes":
        return list(said["nodes"])
    raise ClusterUnusable(
        f"executor.address: Ray at {address} cannot be used from here: {said.get('why')} (this machine must "
        "be a node of it: ray start --address, with --num-gpus=0 if it is to run nothing)"
    )


def _require_alike(nodes: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that what runs attempts has the same installed as this machine.

    Raises:
        ClusterUnusable: some node has not; with a sentence for each.
    """
    folder = os.getcwd()
    here = installed_here(folder)
    unlike = [
        f"executor: Ray's node {node['address']} {'; it '.join(found)}"
        for node in nodes
        if node["installed"] is not None
        and (found := list(differences(here, node["installed"], folder)))
    ]
    if unlike:
        raise ClusterUnusable(
            "\n".join(dict.fromkeys(unlike))
            + "; install the same there, or take it out of the cluster"
        )


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _words(settings: RaySettings) -> str:
    return f"{settings.gpus:g} GPU(s)" if settings.on_gpus else "no GPU"


def _room(node: Mapping[str, Any], settings: RaySettings) -> int:
    """Return how many such attempts a node has room for."""
    rooms = [node["cpus"] // (settings.cpus or 1)]
    if settings.memory:
        rooms.append(node["memory"] // settings.memory)
    if 0 < settings.gpus < 1:
        rooms.append(node["gpus"] * int(1 / settings.gpus + _DELTA))
    elif settings.gpus:
        rooms.append(node["gpus"] // settings.gpus)
    return int(min(rooms))


def _no_room(nodes: Sequence[Mapping[str, Any]], settings: RaySettings) -> str:
    most = {what: max(n[what] for n in nodes) for what in ("gpus", "cpus", "memory")}
    if most["gpus"] < settings.gpus:
        asks = f"executor.gpus: no node of Ray has {settings.gpus:g} GPU(s)"
        return f"{asks}; the largest has {most['gpus']:g} (for attempts without a GPU write none)"
    if most["cpus"] < (settings.cpus or 1):
        return (
            f"executor.cpus: no node of Ray has {settings.cpus}; the largest has {most['cpus']:g}"
        )
    if settings.memory and most["memory"] < settings.memory:
        has = format_size(int(most["memory"]))
        return f"executor.memory: no node of Ray has {format_size(settings.memory)}; the largest has {has}"
    return "executor: no node of Ray has all that one attempt asks for"
