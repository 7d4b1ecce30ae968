"""The progress that `status`, the live screen and the summary all show, drawn from the journal's events."""

from __future__ import annotations

import heapq
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from scheduler.core.verdict import Kind

WAITING, RUNNING, ENDED, DONE, FAILED = "waiting", "running", "being judged", "completed", "failed"


@dataclass(slots=True)
class TaskView:
    """One task as people see it. Times are times of day in seconds."""

    state: str = WAITING
    attempts: int = 0
    device: str | None = None
    started: float | None = None
    seconds: float | None = None  # of the attempt that completed it
    cause: str | None = None  # of the last failure
    waits: str | None = None  # why it waits, if for anything but a device
    not_before: float = 0.0
    rejected: str | None = None  # why its checkpoint does not hold
    summary: Mapping[str, Any] | None = None


@dataclass(slots=True)
class DeviceView:
    """One device as people see it."""

    name: str = ""
    index: str = ""
    idle: bool = False
    reason: str = "not looked at yet"
    task: str | None = None
    aside_until: float = 0.0
    aside_why: str = ""
    free_since: float | None = None  # when it fell free, while a task waited; to measure the gap

    @property
    def label(self) -> str:
        """How people call it: ``GPU 0``, ``GPU 0:1`` (a MIG instance), ``cpu:0``."""
        return self.index if self.index.startswith("cpu") else f"GPU {self.index}"


@dataclass
class SweepProgress:
    """A sweep's state and figures, kept up to date event by event."""

    tasks: dict[str, TaskView]
    devices: dict[str, DeviceView] = field(default_factory=dict)
    trouble: str | None = None  # why the sweep is paused
    draining: bool = False
    holder: Mapping[str, Any] | None = (
        None  # the dispatcher_started event of the dispatcher at work
    )
    counts: dict[str, int] = field(default_factory=dict)
    idle_seconds: float = 0.0  # device-seconds: a device was free while a task waited
    lost_seconds: float = 0.0  # device-seconds of attempts that failed
    # Seconds from a device falling free to its next start, and of completed attempts: recent ones.
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    _last: float = 0.0
    _backoffs: list[float] = field(default_factory=list)  # heap: until when tasks must not start

    def __post_init__(self) -> None:
        self.counts = dict.fromkeys((WAITING, RUNNING, ENDED, DONE, FAILED), 0)
        for task in self.tasks.values():
            self.counts[task.state] += 1

    # --- figures ---------------------------------------------------------------------------------

    def median_gap(self) -> float | None:
        """Return the median seconds from a device falling free to the next start on it, or None."""
        return statistics.median(self.gaps) if self.gaps else None

    def seconds_left(self, now: float) -> float | None:
        """Return an estimate of the time left, or None as long as no attempt was completed here."""
        if not self.durations:
            return None
        typical = statistics.fmean(self.durations)
        running = [now - (t.started or now) for t in self.tasks.values() if t.state == RUNNING]
        work = typical * self.counts[WAITING] + sum(
            max(typical * 0.1, typical - age) for age in running
        )
        slots = sum(1 for d in self.devices.values() if d.task or d.idle)
        return work / max(1, slots, len(running)) if work else 0.0

    def why_waits(self, task: str, now: float) -> str:
        """Return why a waiting task waits, in words."""
        view = self.tasks[task]
        if self.holder is None:
            rejected = f"; its checkpoint does not hold: {view.rejected}" if view.rejected else ""
            return f"no dispatcher runs{rejected}"
        if self.trouble:
            return f"the sweep is paused: {self.trouble}"
        if self.draining:
            return "nothing new is started: the sweep was interrupted"
        if view.not_before > now:
            return f"{view.waits}; {view.not_before - now:.0f} s to go"
        if view.waits and view.waits.startswith(("out of memory: needs", "device error")):
            return view.waits
        usable = [d for d in self.devices.values() if d.aside_until <= now]
        if not usable:
            return "every device is set aside or gone"
        if all(d.task is not None or not d.idle for d in usable):
            others = [f"{d.label} {d.reason}" for d in usable if d.task is None]
            return "no idle device" + (
                f" ({'; '.join(others[:4])})" if others else ": all run other tasks"
            )
        return "its turn comes next"

    # --- snapshots -------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return all that the events told, less what checkpoints tell of ended tasks."""
        return {
            "holder": self.holder,
            "trouble": self.trouble,
            "draining": self.draining,
            "idle_seconds": self.idle_seconds,
            "lost_seconds": self.lost_seconds,
            "gaps": list(self.gaps),
            "durations": list(self.durations),
            "devices": {name: asdict(device) for name, device in self.devices.items()},
            "tasks": {
                name: asdict(view)
                for name, view in self.tasks.items()
                if view.state in (RUNNING, ENDED) or (view.state == WAITING and view.attempts)
            },
        }

    def _on_snapshot(self, entry: Mapping[str, Any], at: float) -> None:
        self.holder = entry["holder"]
        self.trouble, self.draining = entry["trouble"], entry["draining"]
        self.idle_seconds, self.lost_seconds = entry["idle_seconds"], entry["lost_seconds"]
        self.gaps.extend(entry["gaps"])
        self.durations.extend(entry["durations"])
        self.devices = {name: DeviceView(**device) for name, device in entry["devices"].items()}
        for name, view in entry["tasks"].items():
            if name in self.tasks:
                self.move(name, view["state"])
                self.tasks[name] = TaskView(**view)
        waits = (v.not_before for v in self.tasks.values() if v.state == WAITING)
        self._backoffs = sorted(until for until in waits if until > at)

    # --- events ----------------------------------------------------------------------------------

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Take one journal event; events of a kind that is not known are passed over."""
        at = entry.get("at")
        name = entry.get("event")
        if not isinstance(at, int | float) or not isinstance(name, str):
            return
        if (
            name != "dispatcher_started"
        ):  # before it there was none, whatever the one before it told
            self._pass_time(at)
        self._last = at
        handler = getattr(self, f"_on_{name}", None)
        if handler is not None:
            try:
                handler(entry, float(at))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                return  # a line that was damaged, or written by another version

    def _pass_time(self, at: float) -> None:
        if self.holder is not None and self.counts[WAITING] and at > self._last:
            free = sum(1 for d in self.devices.values() if d.idle and d.task is None)
            # By how it stood when this stretch began: a pause that has just ended is no idle time.
            if free and self._some_could_start(self._last):
                self.idle_seconds += free * (at - self._last)

    def _some_could_start(self, at: float) -> bool:
        if self.trouble or self.draining:
            return False
        while self._backoffs and self._backoffs[0] <= at:
            heapq.heappop(self._backoffs)
        return self.counts[WAITING] > len(self._backoffs)

    def move(self, task: str, state: str) -> TaskView | None:
        """Put a task into another state; return its view, or None if the sweep has no such task."""
        view = self.tasks.get(task)
        if view is not None:
            self.counts[view.state] -= 1
            self.counts[state] += 1
            view.state = state
        return view

    def _device(self, name: str) -> DeviceView:
        return self.devices.setdefault(name, DeviceView(index=name))

    def _on_dispatcher_started(self, entry: Mapping[str, Any], at: float) -> None:
        self.holder = entry
        self.trouble, self.draining = None, False
        self.devices = {
            d["id"]: DeviceView(d["name"], d["index"], reason="not looked at yet")
            for d in entry["devices"]
        }
        for name, view in self.tasks.items():
            if view.state in (RUNNING, ENDED):
                self.move(name, WAITING)

    def _on_dispatcher_ended(self, entry: Mapping[str, Any], at: float) -> None:
        self.holder = None

    def _on_device(self, entry: Mapping[str, Any], at: float) -> None:
        device = self._device(entry["device"])
        device.idle, device.reason = bool(entry["idle"]), str(entry["reason"])

    def _on_attempt_started(self, entry: Mapping[str, Any], at: float) -> None:
        device = self._device(entry["device"])
        device.task = entry["task"]
        if device.free_since is not None:
            self.gaps.append(max(0.0, float(entry["started"]) - device.free_since))
            device.free_since = None
        view = self.move(entry["task"], RUNNING)
        if view is not None:
            view.attempts, view.device = int(entry["attempt"]), entry["device"]
            view.started, view.waits = float(entry["started"]), None

    _on_attempt_adopted = _on_attempt_started

    def _on_attempt_ended(self, entry: Mapping[str, Any], at: float) -> None:
        device = self._device(entry["device"])
        device.task = None
        if self._some_could_start(at):  # and somebody was there to start it
            since = float(self.holder["at"]) if self.holder else at
            device.free_since = max(float(entry["ended"]), since)
        else:
            device.free_since = None
        if device.index.startswith("cpu:"):
            device.idle = True
        self.move(entry["task"], ENDED)

    def _on_waits(self, entry: Mapping[str, Any], at: float) -> None:
        view = self.move(entry["task"], WAITING)
        if view is not None:
            view.not_before, view.waits = float(entry["not_before"]), str(entry["why"])
            if view.not_before > at:
                heapq.heappush(self._backoffs, view.not_before)

    def _on_attempt_failed(self, entry: Mapping[str, Any], at: float) -> None:
        if entry["verdict"] != Kind.STOPPED.value:
            self.lost_seconds += float(entry["seconds"])
        view = self.tasks.get(entry["task"])
        if view is not None:
            view.cause = str(entry["cause"])

    def _on_completed(self, entry: Mapping[str, Any], at: float) -> None:
        self.durations.append(float(entry["seconds"]))
        view = self.move(entry["task"], DONE)
        if view is not None:
            view.seconds, view.summary, view.waits = (
                float(entry["seconds"]),
                entry.get("summary"),
                None,
            )

    def _on_failed(self, entry: Mapping[str, Any], at: float) -> None:
        view = self.move(entry["task"], FAILED)
        if view is not None:
            view.cause, view.waits = str(entry["why"]), None

    def _on_set_aside(self, entry: Mapping[str, Any], at: float) -> None:
        device = self._device(entry["device"])
        device.aside_until, device.aside_why = float(entry["until"]), str(entry["why"])

    def _on_paused(self, entry: Mapping[str, Any], at: float) -> None:
        self.trouble = str(entry["why"])

    def _on_resumed(self, entry: Mapping[str, Any], at: float) -> None:
        self.trouble = None

    def _on_draining(self, entry: Mapping[str, Any], at: float) -> None:
        self.draining = True
