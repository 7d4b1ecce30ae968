"""Of what people are told: journal events and progress in, an occasion out. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.config.sweep import Occasion
from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import DONE, FAILED, RUNNING, WAITING, DeviceView

# What can leave a sweep without any device.
_ABOUT_DEVICES = (je.DeviceState, je.DeviceSetAside, je.AttemptEnded, je.TaskWaits)


@dataclass(frozen=True, slots=True)
class News:
    """What there is to tell, and why, in words; ``task`` is the one that failed."""

    occasion: Occasion
    reason: str
    task: str = ""


def news_in(entry: je.Entry, progress: SweepProgress) -> News | None:
    """Return what an event that ``progress`` has taken is to be told of, unless that was told already."""
    event = entry.event
    if isinstance(event, je.TaskFailed):
        news = News("failed", f"{event.task}: {event.why}", event.task)
    elif isinstance(event, je.SweepPaused):
        news = News("paused", event.why)
    elif isinstance(event, _ABOUT_DEVICES) and (why := _no_device(progress, entry.at)) is not None:
        news = News("paused", why)
    else:
        return None
    return None if news.occasion in progress.told else news


def news_of_end(exit_code: int | None, progress: SweepProgress) -> News | None:
    """Return what is to be told when a dispatcher ends with that code; of a user's own doing, nothing."""
    if exit_code not in (0, 1) or "finished" in progress.told:
        return None
    counts, total = progress.counts, len(progress.tasks)
    failed = f", {counts[FAILED]} failed" if counts[FAILED] else ""
    stopped = f"; stopped: {progress.braked}" if progress.braked else ""
    return News("finished", f"{counts[DONE]} of {total} tasks completed{failed}{stopped}")


def _no_device(progress: SweepProgress, at: float) -> str | None:
    """Return why no device can be used, though tasks wait and none runs; None if one can be."""
    counts, devices = progress.counts, progress.devices.values()
    if not devices or counts[RUNNING] or not counts[WAITING]:
        return None
    reasons = [_out_of_use(device, at) for device in devices]
    if None in reasons:
        return None
    said = "; ".join(f"{d.label}: {why}" for d, why in zip(devices, reasons, strict=True))
    return f"no device can be used: {said}"


def _out_of_use(device: DeviceView, at: float) -> str | None:
    if device.gone:
        return device.reason
    return f"set aside: {device.aside_why}" if device.aside_until > at else None
