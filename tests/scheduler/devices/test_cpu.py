"""CPU slots."""

from __future__ import annotations

from scheduler.devices.cpu import cpu_slots


def test_slots() -> None:
    assert [(d.id, d.name, d.kind) for d in cpu_slots(2)] == [
        ("cpu:0", "CPU slot 0", "cpu"),
        ("cpu:1", "CPU slot 1", "cpu"),
    ]
