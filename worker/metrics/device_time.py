"""How long the device itself computes for one call: its kernels, by torch's profiler.

Wall time depends on the host as well: a slow or busy one lets the device wait. What the kernels take
does not. The profiler slows the host down, in some versions also after it has stopped, so that
nothing is to be timed in a process that has profiled.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from worker.errors import UnknownFigureError

# A session loses events that the device's clock dates before its start, and in a process that has
# run for long the clocks are up to seconds apart. So after a session that lost something, the next
# one waits before its call, for this number of seconds.
_SECONDS_BEFORE_CALL = (0.0, 0.5, 2.0)
# by how much the time from the first kernel to the last may differ from the call's: as a share of
# that, or in seconds, whichever is more
_SHARE_APART = 0.05
_SECONDS_APART = 0.1
# the calls to the CUDA runtime each of which makes one kernel
_LAUNCH = re.compile(r"cudaLaunch\w*Kernel")
# copies from and to the host, which take as long as its memory does; and waiting
_NOT_COMPUTING = re.compile(r"Memcpy (HtoD|DtoH|HtoA|AtoH)|\w+ Sync|Stream Wait Event")


@dataclass(frozen=True)
class Event:
    """One event of a profile; times in nanoseconds."""

    name: str
    on_device: bool
    start: int
    end: int
    correlation: int
    """Equal for a launch and its kernel."""


def why_not(device: str) -> str | None:
    """Return why the device's time cannot be had, or None where it may be had.

    Args:
        device: a torch device.
    """
    if not device.startswith("cuda"):
        return "a CPU computes for as long as its wall time"
    from torch.profiler import ProfilerActivity, supported_activities

    if ProfilerActivity.CUDA not in supported_activities():  # type: ignore[no-untyped-call]
        return "this build of torch cannot profile a GPU"
    return None


def device_seconds(call: Callable[[], float]) -> float:
    """Return for how many seconds the device computes during one call.

    Args:
        call: makes one batch of images from a quiet device to a quiet device, and returns the
            seconds that it took.

    Raises:
        UnknownFigureError: the profiler sees nothing, or loses a part at every try.
    """
    # sessions follow each other closely, and what takes CUPTI down after one can hit the next
    os.environ.setdefault("TEARDOWN_CUPTI", "0")
    for seconds_before in _SECONDS_BEFORE_CALL:
        events, seconds = _profiled(call, seconds_before)
        lost = what_is_lost(events, seconds)
        if lost is None:
            return busy_seconds(events)
    raise UnknownFigureError(f"torch's profiler {lost}")


def _profiled(call: Callable[[], float], seconds_before: float) -> tuple[list[Event], float]:
    """Return what torch's profiler sees of one call, and the seconds that the call took."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        time.sleep(seconds_before)
        seconds = call()
    # the events as they are: to make torch's own objects of 200,000 takes half a minute
    return [_event(item) for item in profiler.profiler.kineto_results.events()], seconds


def _event(item: Any) -> Event:
    """Return an event of torch's profiler."""
    start = item.start_ns()
    # a range that somebody named spans the gaps between kernels as well
    is_range = getattr(item, "is_user_annotation", lambda: False)()
    return Event(
        name=item.name(),
        on_device=item.device_type().name == "CUDA" and not is_range,
        start=start,
        end=start + item.duration_ns(),
        correlation=item.correlation_id(),
    )


def busy_seconds(events: Iterable[Event]) -> float:
    """Return for how long at least one of the device's events was under way.

    Kernels count, and copies and fills within the device; what runs at once on several streams
    counts once. Copies between host and device do not count.
    """
    busy = 0
    until = 0
    for start, end in sorted((event.start, event.end) for event in _computing(events)):
        busy += max(0, end - max(start, until))
        until = max(until, end)
    return busy / 1e9


def what_is_lost(events: Sequence[Event], seconds: float) -> str | None:
    """Return what a profile of one call lacks, as what follows "torch's profiler", or None.

    Args:
        events: the profile.
        seconds: how long the call took by the host's clock.
    """
    computing = list(_computing(events))
    if not computing:
        return "saw no kernel: CUPTI may be missing, in use by another profiler, or forbidden"
    kernels = {event.correlation for event in computing}
    launches = [event for event in events if not event.on_device and _LAUNCH.match(event.name)]
    missing = sum(launch.correlation not in kernels for launch in launches)
    # where none has its kernel, this build does not number them alike
    if 0 < missing < len(launches):
        return f"lost {missing} of {len(launches)} kernels"
    spanned = (max(e.end for e in computing) - min(e.start for e in computing)) / 1e9
    if abs(spanned - seconds) > max(_SHARE_APART * seconds, _SECONDS_APART):
        return f"saw {spanned:.2f} s of kernels in a call of {seconds:.2f} s"
    return None


def _computing(events: Iterable[Event]) -> Iterable[Event]:
    """Return the events during which the device computes."""
    return (event for event in events if event.on_device and not _NOT_COMPUTING.match(event.name))
