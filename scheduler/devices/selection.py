"""Which of the devices that are here may be used: pure functions over their names."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.devices.model import Device


class UnknownDevice(ValueError):  # noqa: N818  # reads as the rest of the messages do
    """A user named a device that is not here; the message names it and those that are."""


def select(
    devices: Sequence[Device], only: Sequence[int | str] | None, exclude: Sequence[int | str]
) -> list[Device]:
    """Return the devices that `only` (None: all) names and `exclude` does not, in the order of `only`.

    Tasks start on the first of them that are idle.

    A device is named by its index (2, "2", "0:1"), by its UUID or by the beginning of that; a GPU's
    index or UUID stands for all its MIG instances.

    Raises:
        UnknownDevice: a name fits no device, or the beginnings of several.
    """
    wanted = (
        devices if only is None else [d for name in only for d in _named(devices, name, "only")]
    )
    unwanted = [d for name in exclude for d in _named(devices, name, "exclude")]
    return list(dict.fromkeys(device for device in wanted if device not in unwanted))


def usable(
    devices: Sequence[Device],
    visible: str | None,
    only: Sequence[int | str] | None = None,
    exclude: Sequence[int | str] = (),
) -> list[Device]:
    """Return the devices that `select` chooses, of those that CUDA_VISIBLE_DEVICES leaves.

    Args:
        devices: all that are here.
        visible: the CUDA_VISIBLE_DEVICES that was inherited; None where it is not set.
        only: indices and UUIDs of the devices to use; None for all.
        exclude: those to leave out.

    Raises:
        UnknownDevice: `only` or `exclude` names a device that is not here.
    """
    allowed = {device.id for device in visible_to_cuda(devices, visible)}
    return [device for device in select(devices, only, exclude) if device.id in allowed]


def visible_to_cuda(devices: Sequence[Device], visible: str | None) -> list[Device]:
    """Return the devices that CUDA would show under ``CUDA_VISIBLE_DEVICES=visible``.

    CUDA's rules: None shows all; the first entry that names nothing (an index too large, -1, a
    UUID's beginning that fits no device or several) ends the list; an entry given twice empties it.
    Indices are taken in the order of the PCI bus. Source: the CUDA programming guide, "CUDA
    Environment Variables"; for entries given twice, torch.cuda's reading of the variable.
    """
    if visible is None:
        return list(devices)
    seen: list[Device] = []
    for entry in visible.split(","):
        fitting = _fitting(devices, entry.strip())
        if not fitting:
            break
        if any(device in seen for device in fitting):
            return []
        seen += fitting
    return [device for device in devices if device in seen]


def _named(devices: Sequence[Device], name: int | str, key: str) -> list[Device]:
    fitting = _fitting(devices, str(name))
    if not fitting:
        here = ", ".join(f"{d.index} ({d.id})" for d in devices)
        raise UnknownDevice(
            f"devices.{key}: {name!r} names no single device here; there are {here}"
        )
    return fitting


def _fitting(devices: Sequence[Device], name: str) -> list[Device]:
    """Return the device of this index or UUID, all instances of this GPU, or nothing."""
    if name.isascii() and name.isdigit():
        return [d for d in devices if d.index.partition(":")[0] == str(int(name))]
    if not name.startswith(("GPU-", "MIG-")):
        return [d for d in devices if d.index == name]
    by_id = [d for d in devices if d.id.startswith(name)]
    by_gpu = [d for d in devices if d.parent is not None and d.parent.startswith(name)]
    named = {d.id for d in by_id} | {d.parent for d in by_gpu}
    return by_id + by_gpu if len(named) == 1 else []
