"""What a cluster has for a sweep, asked before anything is started there."""

from __future__ import annotations

from typing import NamedTuple

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
