"""One event of each kind that a journal can hold."""

from __future__ import annotations

from scheduler.core import journal_events as je
from scheduler.core.retry import RetryCode, RetryReason
from scheduler.core.snapshot import (
    RUNNING,
    WAITING,
    DeviceView,
    Holder,
    ListedDevice,
    OtherProcess,
    Snapshot,
    TaskView,
)
from scheduler.core.verdict import Kind

HALVES = RetryReason(RetryCode.HALVES_ARGUMENTS, arguments=("batch",))
SAMPLES: list[je.JournalEvent] = [
    je.DispatcherStarted(7, 8, 2, [ListedDevice("GPU-a", "a GPU", "0")], "1 device"),
    je.DispatcherEnded(None, ["a"]),
    je.Preloaded("worker.commands.preloaded", 12.0),
    je.SweepLost(),
    je.CheckpointRejected("a", "it is damaged", "a.done.aside"),
    je.CheckpointsInDoubt(["a", "b"], "completed", "the sweep file has changed"),
    je.CheckpointsTakenAgain(["a"]),
    je.CheckpointsJudgedAgain(["a"], "validate has changed", "still completed"),
    je.UnlistedTask("z"),
    je.DeviceState("GPU-a", idle=False, reason="busy: process 4711"),
    je.ShareAsked(on=True),
    je.AttemptStarted("a", 1, ("GPU-a",), 5.0, pid=9),
    je.AttemptAdopted("a", 1, ("GPU-a", "GPU-b"), 5.0),
    je.AttemptStopping("a", 1, "stopped by\nthe user"),
    je.AttemptEnded("a", 1, ("GPU-a",), 6.0, code=None, signal=9, leftovers=1),
    je.AttemptFailed("a", 1, ("GPU-a",), "failed", "exit code 1", 1.0, foreign=True),
    je.OthersCame("GPU-a", [OtherProcess(4711, "python", None)], hidden_memory=3),
    je.MoreTaken("a", "GPU-a", taken=3 * 2**30, asked=2**30),
    je.TaskWaits("a", 40.0, RetryReason(RetryCode.FAILED, Kind.FAILED, 30.0)),
    je.TaskCompleted("a", ("GPU-a",), 1, 1.5, {"speedup": 2.0, "loss": None}, "d", "s"),
    je.TaskFailed("a", (), 3, 1.5, "exit code 1 (attempt 3 of 3)"),
    je.DeviceSetAside("GPU-a", 90.0, "one failure after the other"),
    je.SweepPaused("no room"),
    je.SweepResumed(),
    je.SweepDraining(2),
    je.SweepBraked("the first 10 tasks all failed alike"),
    je.Notified("failed"),
    je.NotificationFailed("failed", "ended with exit code 1"),
    je.TrackingFailed("ended with exit code 1"),
    je.StopAsked("a", fail=True, by="ada"),
    je.PauseAsked(now=True, by="ada"),
    je.ResumeAsked("ada"),
    je.DrainAsked("GPU-a", on=True, by="ada"),
    je.AtMost(2, 1_800_000_000.0, "Europe/Berlin"),
    je.SweepReloaded("ada", 3, 0, 1, settings=["priority: 0 → 5"]),
    je.ReloadRefused("ada", "limits cannot change while it runs"),
    je.TaskWithdrawn("a"),
    je.WishIgnored("pause.json", "is user eve's"),
    Snapshot(
        Holder(7, 8, 1.0),
        None,
        draining=False,
        idle_seconds=1.0,
        lost_seconds=2.0,
        gaps=[0.5],
        durations=[3.0],
        devices={"GPU-a": DeviceView("a GPU", "0", tasks=["a"])},
        tasks={
            "a": TaskView(RUNNING, 1, ("GPU-a",), started=5.0),
            "b": TaskView(WAITING, 1, waits=HALVES, not_before=3.0),
        },
        told=["failed"],
    ),
]
