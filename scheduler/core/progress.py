"""The progress that `status`, the live screen and the summary all show, folded from the journal's events."""

from __future__ import annotations

import heapq
import statistics
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scheduler.core import journal_events as je
from scheduler.core.retry import RetryCode
from scheduler.core.snapshot import (
    DONE,
    ENDED,
    FAILED,
    RUNNING,
    WAITING,
    DeviceView,
    Holder,
    Limit,
    Snapshot,
    TaskState,
    TaskView,
)
from scheduler.core.verdict import Kind

_STATES: tuple[TaskState, ...] = (WAITING, RUNNING, ENDED, DONE, FAILED)


@dataclass
class SweepProgress:
    """A sweep's state and figures, kept up to date event by event."""

    tasks: dict[str, TaskView]
    devices: dict[str, DeviceView] = field(default_factory=dict)
    # Why the sweep is paused.
    trouble: str | None = None
    draining: bool = False
    # Why it is; empty: the user has interrupted.
    drains_for: str = ""
    # Who paused the sweep by hand.
    paused_by: str | None = None
    # Why the dispatcher at work, or the last one, starts nothing more: all failed alike.
    braked: str | None = None
    # The dispatcher at work.
    holder: Holder | None = None
    counts: dict[TaskState, int] = field(default_factory=dict)
    # Device-seconds: a device was free while a task waited; attempts that failed.
    idle_seconds: float = 0.0
    lost_seconds: float = 0.0
    # Seconds from a device falling free to its next start, and of completed attempts: recent ones.
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    # The digest of the copy of the code from which the dispatcher at work, or the last one, runs attempts.
    snapshot_of_code: str | None = None
    # How many devices it uses at once.
    limit: Limit = field(default_factory=Limit)
    # Among the sweeps that wait for devices of the same machine.
    priority: int = 0
    # It waits for devices that other sweeps use, and has asked them for its share.
    asks_for_share: bool = False
    # How much work tasks are, in any unit, where the worker was asked when the dispatcher started.
    work: Mapping[str, float] = field(default_factory=dict)
    # Of tasks that have several devices at once: how many.
    device_counts: Mapping[str, int] = field(default_factory=dict)
    # The sweep file is not as the running dispatcher read it.
    file_changed: bool = False
    # Tasks of the file that the newest run, or who looks, was told to leave out, and by what words.
    left_out: int = 0
    only: Sequence[str] = ()
    # Tasks that are not in the sweep file any more, but have checkpoints or attempts.
    left_the_file: list[str] = field(default_factory=list)
    # Those of them of which an attempt runs.
    left_running: list[str] = field(default_factory=list)
    # Of what people were told by the command of `notify`, as long as it is so.
    told: set[str] = field(default_factory=set)
    # The process ids of their supervisors, where they are known.
    left_running_pids: dict[str, int] = field(default_factory=dict)
    # Lines of the journal that could not be read.
    unread_lines: int = 0
    _last: float = 0.0
    # How long attempts took that are being judged, by task.
    _took: dict[str, float] = field(default_factory=dict)
    # Heap: until when tasks must not start.
    _backoffs: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = dict.fromkeys(_STATES, 0)
        for task in self.tasks.values():
            self.counts[task.state] += 1

    # --- figures ---------------------------------------------------------------------------------

    def median_gap(self) -> float | None:
        """Return the median seconds from a device falling free to the next start on it, or None."""
        return statistics.median(self.gaps) if self.gaps else None

    def in_use(self) -> int:
        """Return how many devices run something."""
        return sum(1 for device in self.devices.values() if device.tasks)

    def as_many_as_may_be(self) -> bool:
        """Say whether no further device may come into use."""
        return self.limit.devices is not None and self.in_use() >= self.limit.devices

    # --- snapshots -------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return all that the events told, less what checkpoints tell of ended tasks."""
        return Snapshot(
            self.holder,
            self.trouble,
            self.draining,
            self.idle_seconds,
            self.lost_seconds,
            list(self.gaps),
            list(self.durations),
            {name: replace(d, tasks=list(d.tasks)) for name, d in self.devices.items()},
            {
                name: replace(view)
                for name, view in self.tasks.items()
                if view.state in (RUNNING, ENDED) or (view.state == WAITING and view.attempts)
            },
            sorted(self.told),
            self.braked,
            self.limit.devices,
            self.priority,
            self.asks_for_share,
            self.limit.until,
            self.limit.zone,
            self.drains_for,
        )

    def _restore(self, snapshot: Snapshot, at: float) -> None:
        self.holder = snapshot.holder
        self.trouble, self.draining = snapshot.trouble, snapshot.draining
        self.drains_for = snapshot.drains_for
        self.idle_seconds, self.lost_seconds = snapshot.idle_seconds, snapshot.lost_seconds
        self.told, self.braked = set(snapshot.told), snapshot.braked
        self.limit = Limit(snapshot.at_most, snapshot.at_most_until, snapshot.at_most_zone)
        self.priority, self.asks_for_share = snapshot.priority, snapshot.asks_for_share
        self.gaps.extend(snapshot.gaps)
        self.durations.extend(snapshot.durations)
        self.devices = {
            name: replace(d, tasks=list(d.tasks)) for name, d in snapshot.devices.items()
        }
        for name, view in snapshot.tasks.items():
            if name in self.tasks:
                self.move(name, view.state)
                self.tasks[name] = replace(view)
        waits = (v.not_before for v in self.tasks.values() if v.state == WAITING)
        self._backoffs = sorted(until for until in waits if until > at)

    # --- events ----------------------------------------------------------------------------------

    def apply(self, entry: je.Entry) -> None:  # noqa: C901, PLR0912, PLR0915  # one case for each kind of event
        """Take one event."""
        at, event = entry.at, entry.event
        # Before a dispatcher started there was none, whatever the one before it told.
        if not isinstance(event, je.DispatcherStarted):
            self._pass_time(at)
        self._last = at
        match event:
            case je.DispatcherStarted():
                self._dispatcher_started(event, at)
            case je.DispatcherEnded():
                self.holder = None
            case je.DeviceState():
                device = self._device(event.device)
                device.idle, device.reason, device.gone = event.idle, event.reason, event.gone
            case je.ShareAsked():
                self.asks_for_share = event.on
            case je.AttemptStarted() | je.AttemptAdopted():
                self._attempt_started(event)
            case je.AttemptEnded():
                self._attempt_ended(event, at)
            case je.AttemptFailed():
                self._attempt_failed(event)
            case je.TaskWaits():
                self._waits(event, at)
            case je.TaskCompleted():
                self._completed(event)
            case je.TaskFailed():
                self._failed(event)
            case je.DeviceSetAside():
                device = self._device(event.device)
                device.aside_until, device.aside_why = event.until, event.why
            case je.SweepPaused():
                self.trouble = event.why
            case je.SweepResumed():
                self.trouble = None
                self.told.discard("paused")
            case je.SweepDraining():
                self.draining, self.drains_for = True, event.why
            case je.SweepBraked():
                self.braked = event.why
            case je.Notified():
                self.told.add(event.occasion)
            case je.PauseAsked():
                self.paused_by = event.by
            case je.ResumeAsked():
                self.paused_by = None
            case je.DrainAsked():
                self._device(event.device).drained = event.on
            case je.AtMost():
                self.limit = Limit(event.devices, event.until, event.zone)
            case je.TaskWithdrawn():
                self.remove(event.task)
            case je.SweepReloaded():
                self.braked = None if event.changed else self.braked
                self.priority = self.priority if event.priority is None else event.priority
            case Snapshot():
                self._restore(event, at)
            case (
                je.SweepLost()
                | je.Preloaded()
                | je.CheckpointRejected()
                | je.CheckpointsInDoubt()
                | je.CheckpointsTakenAgain()
                | je.CheckpointsJudgedAgain()
                | je.UnlistedTask()
                | je.AttemptStopping()
                | je.OthersCame()
                | je.MoreTaken()
                | je.NotificationFailed()
                | je.TrackingFailed()
                | je.StopAsked()
                | je.ReloadRefused()
                | je.WishIgnored()
            ):
                pass  # for people; they change no figure

    def _pass_time(self, at: float) -> None:
        if self.holder is not None and self.counts[WAITING] and at > self._last:
            free = sum(1 for d in self.devices.values() if d.idle and not d.tasks)
            if self.limit.devices is not None:  # the others are left to colleagues
                free = min(free, max(0, self.limit.devices - self.in_use()))
            # By how it stood when this stretch began: a pause that has just ended is no idle time.
            if free and self._some_could_start(self._last):
                self.idle_seconds += free * (at - self._last)

    def _some_could_start(self, at: float) -> bool:
        if self.trouble or self.draining or self.braked:
            return False
        while self._backoffs and self._backoffs[0] <= at:
            heapq.heappop(self._backoffs)
        return self.counts[WAITING] > len(self._backoffs)

    def move(self, task: str, state: TaskState) -> TaskView | None:
        """Put a task into another state; return its view, or None if the sweep has no such task."""
        view = self.tasks.get(task)
        if view is not None:
            self.counts[view.state] -= 1
            self.counts[state] += 1
            view.state = state
        return view

    def add(self, task: str) -> None:
        """Add a task that waits."""
        self.tasks[task] = TaskView()
        self.counts[WAITING] += 1

    def remove(self, task: str) -> None:
        """Forget a task, if it is there."""
        view = self.tasks.pop(task, None)
        if view is not None:
            self.counts[view.state] -= 1

    def keep(self, tasks: Collection[str]) -> None:
        """Forget all tasks but these, which are to be looked at alone."""
        self.tasks = {name: view for name, view in self.tasks.items() if name in tasks}
        self.__post_init__()

    def _device(self, name: str) -> DeviceView:
        return self.devices.setdefault(name, DeviceView(index=name))

    def _dispatcher_started(self, event: je.DispatcherStarted, at: float) -> None:
        self.holder = Holder(event.pid, event.start_ticks, at)
        self.trouble, self.draining, self.snapshot_of_code = None, False, event.snapshot
        self.limit = Limit(event.at_most)
        self.priority, self.asks_for_share = event.priority, False
        self.paused_by = self.braked = None
        if not self.counts[FAILED]:
            self.told.discard("failed")
        self.devices = {
            d.id: DeviceView(d.name, d.index, cores=d.cores, room=d.room) for d in event.devices
        }
        for name, view in self.tasks.items():
            if view.state in (RUNNING, ENDED):
                self.move(name, WAITING)

    def _attempt_started(self, event: je.AttemptStarted | je.AttemptAdopted) -> None:
        self.told -= {"finished", "paused"}
        for device in map(self._device, event.devices):
            if event.task not in device.tasks:
                device.tasks.append(event.task)
            device.sharing = event.share is not None
            if device.free_since is not None:
                self.gaps.append(max(0.0, event.started - device.free_since))
                device.free_since = None
        view = self.move(event.task, RUNNING)
        if view is not None:
            if event.attempt <= view.stage_attempts:  # it begins anew
                view.stage_attempts, view.stage_seconds = 0, 0.0
            view.attempts, view.devices = event.attempt, event.devices
            view.started, view.waits = event.started, None

    def _attempt_ended(self, event: je.AttemptEnded, at: float) -> None:
        since = None
        if self._some_could_start(at):  # and somebody was there to start it
            since = max(event.ended, self.holder.at if self.holder else at)
        for device in map(self._device, event.devices):
            if event.task in device.tasks:
                device.tasks.remove(event.task)
            device.free_since = since
            if device.index.startswith("cpu:"):
                device.idle = True
        view = self.move(event.task, ENDED)
        if view is not None and view.started is not None:
            self._took[event.task] = max(0.0, event.ended - view.started)

    def _attempt_failed(self, event: je.AttemptFailed) -> None:
        if event.verdict != Kind.STOPPED.value:
            self.lost_seconds += event.seconds
        view = self.tasks.get(event.task)
        if view is not None:
            view.cause = event.cause

    def _waits(self, event: je.TaskWaits, at: float) -> None:
        view = self.move(event.task, WAITING)
        took = self._took.pop(event.task, 0.0)
        if view is not None:
            if event.reason.code is RetryCode.STAGE_DONE:
                view.stage_attempts, view.stage_seconds = view.attempts, took
            view.not_before, view.waits = event.not_before, event.reason
            if view.not_before > at:
                heapq.heappush(self._backoffs, view.not_before)

    def _completed(self, event: je.TaskCompleted) -> None:
        self.durations.append(event.seconds)
        self.told.discard("finished")
        view = self.move(event.task, DONE)
        if view is not None:
            view.seconds, view.summary, view.waits = event.seconds, event.summary, None

    def _failed(self, event: je.TaskFailed) -> None:
        self.told.discard("finished")
        view = self.move(event.task, FAILED)
        if view is not None:
            view.cause, view.waits = event.why, None
