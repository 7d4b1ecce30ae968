"""CPU slots: the devices of a machine without NVML."""

from __future__ import annotations

import os

from scheduler.devices.model import Device


def cpu_slots(number: int) -> list[Device]:
    """Return ``number`` CPU slots, ``cpu:0`` upwards."""
    return [
        Device(id=f"cpu:{slot}", name=f"CPU slot {slot}", index=f"cpu:{slot}", kind="cpu")
        for slot in range(number)
    ]


def threads_per_slot(number: int) -> int:
    """Return how many threads a worker on one of ``number`` slots may use, at least 1.

    The same for every slot, so that times measured on different slots can be compared; shared out
    over the cores this process may run on, which a container or ``taskset`` may have limited.
    """
    return max(1, len(os.sched_getaffinity(0)) // number)
