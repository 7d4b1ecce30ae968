"""Devices that stand close together, chosen for one attempt. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, TypeVar


class InAGroup(Protocol):
    """A device, as far as its place matters."""

    @property
    def group(self) -> str | None: ...


D = TypeVar("D", bound=InAGroup)


def closest(devices: Sequence[D], count: int) -> tuple[D, ...]:
    """Return so many of the devices, of one group if there is one that has enough; none if there are too few.

    The smallest group that has enough is taken, so that large ones stay whole for those who want more;
    else as few groups as can be. Among groups of a size, and within a group, first ones go first.
    """
    if len(devices) < count:
        return ()
    groups: dict[str | None, list[D]] = defaultdict(list)
    for device in devices:
        groups[device.group].append(device)
    enough = [group for group in groups.values() if len(group) >= count]
    if enough:
        return tuple(min(enough, key=len)[:count])
    ordered = sorted(groups.values(), key=len, reverse=True)
    return tuple([device for group in ordered for device in group][:count])
