"""Which device's attempts get which cores: a pure function of the machine and its devices.

All dispatchers of a machine come to the same shares without talking to each other, as long as they may use
the same CPUs: the cores are dealt out over every device that is there, not only over those of one sweep. So
two sweeps on different GPUs do not meet on a core.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from scheduler.config.sweep import CoreSetting
from scheduler.devices.cores.machine import Core, Machine
from scheduler.devices.model import Device


class TooFewCores(ValueError):  # noqa: N818  # reads as the rest of the messages do
    """The sweep asks for more cores than there are; the message says how many it may ask for."""


@dataclass(frozen=True, slots=True)
class Shares:
    """The cores of each device's attempts."""

    # By device: the CPUs that its attempts are bound to, ascending. Without an entry: to none.
    cpus: Mapping[str, tuple[int, ...]]
    # By device that several attempts share: the CPUs of each of them.
    parts: Mapping[str, tuple[tuple[int, ...], ...]]
    # How many threads an attempt is told to compute with, the same on every device; None: not told.
    threads: int | None
    # How many cores each has, and what else a user should know of it; empty: nothing.
    summary: str = ""
    # The CPUs of attempts on the devices that the sweep may not use.
    others: tuple[int, ...] = ()


def share_out(
    machine: Machine,
    here: Sequence[Device],
    used: Sequence[Device],
    cores: CoreSetting,
    parts: Mapping[str, int] | None = None,
) -> Shares:
    """Return the shares of the devices of a sweep.

    Args:
        machine: the cores that may be used.
        here: all devices of the machine, in an order that every dispatcher finds the same.
        used: those of them that the sweep may use.
        cores: what the sweep says: ``auto``, ``off``, or how many cores each attempt gets.
        parts: into how many parts a device is divided, for as many attempts at once; without an entry, one.

    Raises:
        TooFewCores: there are fewer than that for each device of the sweep.
    """
    # Times on different slots can be compared only if each has as many threads; and a slot's have always been
    # hardware threads, while a process on a GPU is best served with one for each core.
    on_cpu = all(device.kind == "cpu" for device in used)
    if cores == "off":
        whole = [machine.cores for _ in used]
        return Shares({}, {}, _threads(machine, whole, len(used), on_cpu=True) if on_cpu else None)
    parts = {device.id: (parts or {}).get(device.id, 1) for device in used}
    if cores != "auto" and cores * sum(parts.values()) > len(machine.cores):
        raise TooFewCores(_too_few(machine, sum(parts.values()), cores))
    most = max(parts.values())
    enough_for_all = cores == "auto" or cores * most * len(here) <= len(machine.cores)
    among = here if enough_for_all else used
    dealt = _deal(machine.cores, among)
    if cores == "auto" and not on_cpu:  # slots divide the whole machine
        _keep_one_back(dealt)
    divided = {d.id: _divide(dealt[d.id], parts[d.id], cores) for d in used if parts[d.id] > 1}
    if cores != "auto":
        dealt = {device: share[:cores] for device, share in dealt.items()}
    cpus = {d.id: _cpus(dealt[d.id]) for d in used}
    threads = _threads(machine, list(dealt.values()), len(among), on_cpu=on_cpu)
    summary = _summary([len(dealt[device.id]) for device in used])
    if not enough_for_all:
        summary += f" (too few for all {len(here)} devices: a sweep on others may get the same)"
    if len(machine.cores) < len(among):
        summary = f"{len(among)} devices share {len(machine.cores)} core(s)"
    others = [core for d in among if d.id not in cpus for core in dealt[d.id]]
    return Shares(cpus, divided, threads, summary, _cpus(others))


def _cpus(cores: Sequence[Core]) -> tuple[int, ...]:
    return tuple(sorted(cpu for core in cores for cpu in core.cpus))


def _divide(share: Sequence[Core], parts: int, cores: CoreSetting) -> tuple[tuple[int, ...], ...]:
    """Deal a device's cores out to the attempts that share it, as to devices of their own."""
    whole = [Device(str(number), "", str(number), "gpu") for number in range(parts)]
    dealt = _deal(share, whole) if share else {}
    limit = cores if isinstance(cores, int) else len(share)
    return tuple(_cpus(dealt[part.id][:limit]) for part in whole if part.id in dealt)


def _summary(sizes: Sequence[int]) -> str:
    least, most = min(sizes), max(sizes)
    return f"{least} core(s) each" if least == most else f"{least} to {most} cores each"


def _threads(
    machine: Machine, shares: Sequence[Sequence[Core]], devices: int, *, on_cpu: bool
) -> int:
    """Return how many threads the smallest share has room for, or the cgroup grants the time for."""
    smallest = min(sum(len(c.cpus) for c in share) if on_cpu else len(share) for share in shares)
    # Shares overlap where there are fewer cores than devices, and where nothing is bound.
    evenly = (machine.cpus if on_cpu else len(machine.cores)) / devices
    granted = smallest if machine.quota is None else machine.quota / devices
    return max(1, int(min(smallest, evenly, granted)))


def _too_few(machine: Machine, attempts: int, cores: int) -> str:
    there, most = len(machine.cores), len(machine.cores) // attempts
    help_ = f"at most {most}" if most else "auto, which shares them, or off"
    return (
        f"devices.cores: {cores} for each of {attempts} device(s), but only {there} core(s) may be used "
        f"here; give {help_}"
    )


def _keep_one_back(dealt: Mapping[str, list[Core]]) -> None:
    """Take back one of the cores that were dealt out to GPUs, if every GPU still has two.

    It is for the dispatcher and whatever else runs here: where all cores measure, that would disturb one of
    them. A slow core if there is one, else the first, which serves most interrupts.
    """
    sizes = list(map(len, dealt.values()))
    if sum(sizes) > 2 * len(sizes):
        largest = [share for share in dealt.values() if len(share) == max(sizes)]
        spare = min((c for share in largest for c in share), key=lambda c: (not c.slow, c.cpus))
        next(share for share in largest if spare in share).remove(spare)


def _deal(cores: Sequence[Core], devices: Sequence[Device]) -> dict[str, list[Core]]:
    """Deal whole cores out to devices, as evenly as they go; with too few, several devices get the same.

    Fast cores and slow ones, and those with more and fewer threads, are dealt out separately. Devices
    that get one more of one kind are the last to get one more of the next.
    """
    dealt: dict[str, list[Core]] = {device.id: [] for device in devices}
    if len(cores) < len(devices):
        for first in range(0, len(devices), len(cores)):
            group = devices[first : first + len(cores)]
            dealt |= _deal(cores[: len(group)], group)
        return dealt
    kinds = sorted({(core.slow, -len(core.cpus)) for core in cores})
    first = 0
    for kind in kinds:
        alike = [core for core in cores if (core.slow, -len(core.cpus)) == kind]
        even, more = divmod(len(alike), len(devices))
        favoured = Counter(islice(cycle(device.id for device in devices), first, first + more))
        sizes = {device.id: even + favoured[device.id] for device in devices}
        first = (first + more) % len(devices)
        _deal_alike(alike, devices, sizes, dealt)
    return dealt


def _deal_alike(
    cores: Sequence[Core],
    devices: Sequence[Device],
    sizes: Mapping[str, int],
    dealt: Mapping[str, list[Core]],
) -> None:
    """Give each device its number of cores: first those that are near to it, then of what is left."""
    free = {core.cpus: core for core in cores}
    missing = dict(sizes)

    def give(device: Device, choice: Collection[Core]) -> None:
        for core in _together(choice, missing[device.id]):
            missing[device.id] -= 1
            dealt[device.id].append(core)
            del free[core.cpus]

    for device in devices:
        if device.near:
            give(device, [core for core in free.values() if not device.near.isdisjoint(core.cpus)])
    for device in devices:
        if missing[device.id]:
            give(device, free.values())


def _together(cores: Collection[Core], number: int) -> list[Core]:
    """Return this number of the cores, or all if there are fewer, from as few NUMA nodes as possible."""
    taken: list[Core] = []
    left = Counter(core.node for core in cores)
    while left and len(taken) < number:
        wanted = number - len(taken)
        enough = [node for node, count in left.items() if count >= wanted]
        node = enough[0] if enough else max(left, key=lambda n: left[n])
        taken += [core for core in cores if core.node == node][:wanted]
        del left[node]
    return taken
