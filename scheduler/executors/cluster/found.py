"""What a cluster has for a sweep, asked before anything is started there."""

from __future__ import annotations

from typing import NamedTuple

from scheduler.config.sweep import Sweep, is_own_worker
from scheduler.devices.model import Device

MOST_SLOTS = 256  # unless the sweep asks for more


class ClusterUnusable(Exception):  # noqa: N818  # a state of the cluster, or a mistake in the sweep
    """The cluster cannot run such attempts, or is not here; the message says why and what to do."""


class Found(NamedTuple):
    """What a cluster has for a sweep's attempts."""

    # One for each that it is to have at a time.
    slots: list[Device]
    # How they were found, for people.
    where: str
    # What its user should know.
    remark: str | None = None


def why_not_on_parts(sweep: Sweep) -> str | None:
    """Return why a sweep's attempts cannot have a part of a GPU each; None: they can."""
    timed = [task.id for task in sweep.tasks if task.id not in sweep.untimed]
    if not timed:
        return None
    who = (
        f"{timed[0]} measures"
        if len(timed) == 1
        else f"{timed[0]} and {len(timed) - 1} more measure"
    )
    can_do_without = sweep.timed is None and is_own_worker(sweep.command)
    otherwise = ", or measure no speed (search: {timing: off})" if can_do_without else ""
    return f"{who} speed, which others on the same GPU would change: give each attempt a whole GPU{otherwise}"
