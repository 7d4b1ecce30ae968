"""Of what people are told, and when it was told already."""

from __future__ import annotations

import pytest

from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.core.snapshot import ListedDevice, TaskView
from scheduler.dispatch.notify.occasions import news_in, news_of_end

STARTED = je.DispatcherStarted(
    7, 8, 2, [ListedDevice("GPU-a", "", "0"), ListedDevice("GPU-b", "", "1")], ""
)
LOST_A = je.DeviceState("GPU-a", idle=False, reason="lost: it fell off the bus", gone=True)
ASIDE_B = je.DeviceSetAside("GPU-b", 90.0, "failure after failure")
FULL = je.SweepPaused("No space left on device")


def told(*events: je.JournalEvent, tasks: int = 2) -> list[str]:
    """Return what a sweep of waiting tasks is told of, event by event; each is recorded as told."""
    progress = SweepProgress({str(n): TaskView() for n in range(tasks)})
    said = []
    for at, event in enumerate((STARTED, *events)):
        entry = je.Entry(float(at), event)
        progress.apply(entry)
        if (news := news_in(entry, progress)) is not None:
            said.append(f"{news.occasion}: {news.reason}")
            progress.apply(je.Entry(float(at), je.Notified(news.occasion)))
    return said


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([FULL], ["paused: No space left on device"]),
        # Of what is so already, nobody is told: not by the next dispatcher either.
        ([FULL, FULL], ["paused: No space left on device"]),
        ([FULL, STARTED, FULL], ["paused: No space left on device"]),
        ([FULL, je.SweepResumed(), FULL], ["paused: No space left on device"] * 2),
        (
            [je.TaskFailed("0", (), 3, 1.0, "why"), je.TaskFailed("1", (), 3, 1.0, "why")],
            ["failed: 0: why"],
        ),
        ([LOST_A], []),
        ([je.DeviceState("GPU-a", idle=False, reason="busy: others"), ASIDE_B], []),
        ([je.AttemptStarted("0", 1, ("GPU-b",), 1.0), LOST_A, ASIDE_B], []),
        (
            [LOST_A, ASIDE_B],
            [
                "paused: no device can be used: GPU 0: lost: it fell off the bus; "
                "GPU 1: set aside: failure after failure"
            ],
        ),
    ],
)
def test_what_is_told(events: list[je.JournalEvent], said: list[str]) -> None:
    assert told(*events) == said


def test_nobody_is_told_that_no_device_is_left_where_nothing_waits() -> None:
    assert told(LOST_A, ASIDE_B, tasks=0) == []


@pytest.mark.parametrize("code", [None, 3, 130])
def test_the_end_that_its_user_wanted_is_told_to_nobody(code: int | None) -> None:
    assert news_of_end(code, SweepProgress({})) is None


def test_a_snapshot_keeps_what_was_told() -> None:
    progress = SweepProgress({})
    progress.apply(je.Entry(1.0, je.Notified("finished")))
    later = SweepProgress({})
    later.apply(je.Entry(2.0, progress.snapshot()))
    assert news_of_end(0, later) is None
