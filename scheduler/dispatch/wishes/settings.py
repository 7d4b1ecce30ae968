"""The settings of a changed sweep file: which a running dispatcher takes in, and which cannot change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from scheduler.config.differences import differences
from scheduler.config.hours import Hours
from scheduler.config.sweep import NOT_OF_THE_FILE, Sweep

# What a running dispatcher takes in: the tasks, what they run, when they are tried again or ended.
_MAY_CHANGE = frozenset(
    {
        *NOT_OF_THE_FILE,
        *(
            "axes",
            "command",
            "check",
            "args",
            "search",
            "spelling",
            "retries",
            "limits",
            "priority",
        ),
    }
)
# The keys of the others, where they are not called like the field.
_KEYS = {
    "env": "worker.env",
    "preload": "worker.preload",
    "reuses_results": "worker.reuses_results",
    "rules": "validate",
}


def unchangeable(before: Sweep, now: Sweep) -> list[str]:
    """Return the keys that differ and that no running dispatcher takes in."""
    if before.order is not None and now.order is not None and now.order.seed is None:
        now = replace(now, order=replace(now.order, seed=before.order.seed))
    # The one key of its section that a running dispatcher takes in.
    now = replace(now, devices=replace(now.devices, at_most=before.devices.at_most))
    return [
        _KEYS.get(f.name, f.name)
        for f in fields(Sweep)
        if f.name not in _MAY_CHANGE and getattr(before, f.name) != getattr(now, f.name)
    ]


def cannot_change(keys: Sequence[str]) -> str:
    """Return in a sentence that settings cannot change under a running dispatcher."""
    return (
        f"{', '.join(keys)} cannot change while it runs: put the file back, or end the dispatcher and start "
        "it again"
    )


def taken_over(before: Sweep, now: Sweep) -> list[str]:
    """Return what differs beside the tasks, each as ``priority: 0 → 5``; ``–`` stands for what is not set."""
    return [*differences(_settings(before), _settings(now)), *_another_order(before, now)]


def _settings(sweep: Sweep) -> dict[str, Any]:
    at_most, retries, limits = sweep.devices.at_most, sweep.retries, sweep.limits
    hours = {"at_most": str(at_most), "zone": at_most.zone} if isinstance(at_most, Hours) else {}
    sections: dict[str, dict[str, Any]] = {
        "devices": hours or {"at_most": at_most},
        "retries": {**asdict(retries), "backoff": _seconds(retries.backoff)},
        "limits": {
            "timeout": _seconds(limits.timeout),
            "stall": _seconds(limits.stall),
            "log": None if limits.log is None else f"{limits.log / 2**20:.10g} MiB",
        },
        "worker": {"check": sweep.check},
    }
    given = {
        name: {key: value for key, value in section.items() if value is not None}
        for name, section in sections.items()
    }
    return {"priority": sweep.priority, **given}


def _seconds(limit: float | None) -> str | None:
    """Return a time in full: rounded, two that differ might look alike."""
    return None if limit is None else f"{limit:.10g} s"


def _another_order(before: Sweep, now: Sweep) -> list[str]:
    earlier, today = ([task.id for task in sweep.tasks] for sweep in (before, now))
    in_both = set(earlier).intersection(today)
    same = [t for t in earlier if t in in_both] == [t for t in today if t in in_both]
    return [] if same else ["its tasks stand in another order"]
