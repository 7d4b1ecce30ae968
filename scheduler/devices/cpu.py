"""CPU slots: the devices of a machine without NVML."""

from __future__ import annotations

from scheduler.devices.model import Device


def cpu_slots(number: int) -> list[Device]:
    """Return ``number`` CPU slots, ``cpu:0`` upwards."""
    return [
        Device(id=f"cpu:{slot}", name=f"CPU slot {slot}", index=f"cpu:{slot}", kind="cpu")
        for slot in range(number)
    ]
