"""Whether Slurm would take a sweep's jobs, asked before anything is submitted; and how many at once."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence

from scheduler.config.cluster.settings import PARTS_OF_GPUS, SlurmSettings
from scheduler.config.suggest import nearest
from scheduler.config.units import format_size
from scheduler.devices.model import Device
from scheduler.executors.cluster.found import MOST_SLOTS, ClusterUnusable, Found
from scheduler.executors.slurm import commands
from scheduler.executors.slurm.commands import NodeGroup, SlurmError

PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
# What is so only now, and what jobs wait for in the queue.
_FOR_NOW = re.compile(
    "down, drained|inactive or drain|temporarily|not available at this time|in use"
)
# Slurm says so, too, when nodes that have all of it are down, or have not yet answered a new controller.
_NO_NODE = "node configuration is not available"


class SlurmUnusable(ClusterUnusable):
    """Slurm cannot run such jobs, or is not here; the message says why and what to do."""


def find_slots(settings: SlurmSettings) -> Found:
    """Return room for a sweep's jobs.

    Raises:
        SlurmUnusable: Slurm's commands are missing or get no answer, or no job of that kind can ever run.
    """
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise SlurmUnusable(
                f"executor: there is no program {program} on the PATH; start it where Slurm's commands are, "
                "or with --executor local"
            )
    try:
        groups = commands.node_groups()
        partition = settings.partition or commands.default_partition()
    except SlurmError as error:
        raise SlurmUnusable(f"executor: Slurm does not answer: {error}") from None
    nodes = _nodes_of(partition, groups)
    room = sum(group.nodes * _room(group, settings) for group in nodes)
    if not room:
        raise SlurmUnusable(_no_room(partition, nodes, settings))
    refused = _refusal(settings)
    if refused is not None and not _is_for_now(refused, nodes, settings):
        parts = settings.on_parts and _NO_NODE in refused
        note = " (a part must be of one GPU)" if parts else ""
        raise SlurmUnusable(
            f"executor: Slurm takes no such job in partition {partition}: {refused}{note}"
        )
    number = settings.at_most or min(room, MOST_SLOTS)
    ahead = min(number, MOST_SLOTS) if settings.queue is None else settings.queue
    where = f"Slurm, partition {partition}: {number} job(s) at once, each with {_words(settings)}"
    return Found(slots(number + ahead, settings), where, remark_on_models(nodes, settings.gres))


def _refusal(settings: SlurmSettings) -> str | None:
    """Return why Slurm would not take such a job; None: it would."""
    try:
        commands.test_submission(settings)
    except SlurmError as error:
        return str(error)
    return None


def _is_for_now(error: str, nodes: Sequence[NodeGroup], settings: SlurmSettings) -> bool:
    """Say whether jobs wait in the queue for what Slurm refuses now, as for nodes that are down.

    That some nodes have all that is asked for is known by now, but for features that stand together.
    """
    if _NO_NODE not in error:
        return _FOR_NOW.search(error) is not None
    if settings.on_parts and not any(_of_one_gpu(group, settings.gres) for group in nodes):
        return False
    return settings.constraint is None or any(
        _room(group, settings) for group in nodes if not group.up
    )


def remark_on_models(nodes: Sequence[NodeGroup], gres: str) -> str | None:
    """Say so if jobs would run on GPUs of several models, by what Slurm calls them."""
    name, kind, _ = parse_gres(gres)
    parts = [part for group in nodes for part in _parts(group.gres)]
    models = sorted({type_ for other, type_, _ in parts if other == name and type_})
    if name != "gpu" or kind or len(models) < 2:
        return None
    return (
        f"executor.gres: GPUs of {len(models)} models ({', '.join(models)}) would be used; their times do "
        f"not compare: name one, as in gpu:{models[-1]}:1"
    )


def slots(number: int, settings: SlurmSettings) -> list[Device]:
    """Return so many slots; the ids of those without a GPU tell that they are none."""
    what, prefix = (settings.gres, "") if settings.on_gpus else ("no GPU", "cpu:")
    return [
        Device(f"{prefix}slurm:{n}", f"Slurm job ({what})", f"slurm:{n}", "slot")
        for n in range(number)
    ]


def _words(settings: SlurmSettings) -> str:
    return settings.gres or "no GPU"


def _nodes_of(partition: str | None, groups: Sequence[NodeGroup]) -> list[NodeGroup]:
    names = list(dict.fromkeys(group.partition for group in groups))
    if partition is None:
        raise SlurmUnusable(
            f"executor.partition: is missing, and Slurm has no default; it has {', '.join(names)}"
        )
    if partition not in names:
        raise SlurmUnusable(
            f"executor.partition: Slurm has no partition {partition!r}{nearest(partition, names)}; "
            f"it has {', '.join(names)}"
        )
    return [group for group in groups if group.partition == partition]


def _no_room(partition: str | None, nodes: Sequence[NodeGroup], settings: SlurmSettings) -> str:
    have = sorted({group.gres for group in nodes} - {"(null)"})
    if settings.gres and not any(_has(group, settings.gres) for group in nodes):
        there = f"its nodes have {', '.join(have)}" if have else "its nodes have none"
        return f"executor.gres: no node of partition {partition} has {settings.gres}; {there}" + (
            "" if have else " (for jobs without a GPU write none)"
        )
    able = [group for group in nodes if not settings.gres or _has(group, settings.gres)]
    if settings.cpus and all(group.cpus < settings.cpus for group in able):
        most = max(group.cpus for group in able)
        return f"executor.cpus: no node of partition {partition} has {settings.cpus}; the largest has {most}"
    most = max(group.memory for group in able)
    return (
        f"executor.memory: no node of partition {partition} has so much with all else that a job asks "
        f"for; the largest has {format_size(most)}"
    )


def _room(group: NodeGroup, settings: SlurmSettings) -> int:
    """Return how many such jobs a node of the group has room for, by its GPUs, cores and memory."""
    room = group.cpus // (settings.cpus or 1)
    if settings.memory:
        room = min(room, group.memory // settings.memory)
    if settings.gres:
        room = min(room, _has(group, settings.gres))
    return room


def _has(group: NodeGroup, gres: str) -> int:
    """Return how often a node of the group has a gres; of parts of a GPU at least once, if it has so much."""
    name, _, count = parse_gres(gres)
    often = _number(group, gres) // count
    return max(min(often, 1), _of_one_gpu(group, gres)) if name in PARTS_OF_GPUS else often


def _of_one_gpu(group: NodeGroup, gres: str) -> int:
    """Return how often a node has a part that is of one GPU, taken that all its GPUs have equally much.

    sinfo does not say which GPU has how much.
    """
    _, kind, count = parse_gres(gres)
    gpus = max(1, _number(group, f"gpu:{kind}" if kind else "gpu"))
    return _number(group, gres) // gpus // count * gpus


def _number(group: NodeGroup, gres: str) -> int:
    """Return how much of a gres a node of the group has, whatever number is asked for."""
    name, kind, _ = parse_gres(gres)
    return sum(n for other, type_, n in _parts(group.gres) if other == name and kind in ("", type_))


def _parts(gres: str) -> Iterator[tuple[str, str, int]]:
    """Yield the parts of what sinfo says that a node has, such as ``gpu:h100:4(S:0-1),mps:400``."""
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        if part:
            yield parse_gres(part)


def parse_gres(gres: str) -> tuple[str, str, int]:
    """Return name, type (empty: any) and number of ``name[:type][:number]``."""
    name, *rest = gres.split(":")
    number = 1
    if rest and (found := re.fullmatch(r"(\d+)([kKmMgG]?)", rest[-1])) is not None:
        number = int(found[1]) * {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}[found[2].lower()]
        rest.pop()
    return name, rest[0] if rest else "", max(1, number)
