"""What people are told of events, and of why a task waits."""

from __future__ import annotations

from typing import get_args

import pytest

from scheduler.core import journal_events as je
from scheduler.core.progress import SweepProgress
from scheduler.core.retry import RetryCode, RetryReason
from scheduler.core.snapshot import DeviceView, Holder, TaskView
from scheduler.core.verdict import Kind
from scheduler.storage.journal import parse_entry
from scheduler.views.messages import sentence, why_waits
from tests.helpers.journal_samples import SAMPLES

NEEDS_MEMORY = RetryReason(RetryCode.NEEDS_MEMORY, memory=2**30)


def progress(waits: RetryReason | None = None, not_before: float = 0.0) -> SweepProgress:
    busy = DeviceView("a GPU", "0", idle=False, reason="busy: process 4711")
    task = TaskView(waits=waits, not_before=not_before)
    return SweepProgress({"a": task}, {"GPU-a": busy}, holder=Holder(1, 2, 100.0))


def test_why_a_task_waits_names_devices_as_people_do() -> None:
    assert why_waits("a", progress(), 102.0) == "no idle device (GPU 0 busy: process 4711)"


def test_a_task_that_has_several_devices_waits_for_all_of_them() -> None:
    seen = progress()
    seen.device_counts = {"a": 2}
    assert why_waits("a", seen, 102.0).startswith("no idle device (GPU 0 busy")
    seen.devices |= {"GPU-b": DeviceView("a GPU", "1", idle=True)}
    why = "needs 2 devices at once, and of 2 only 1 is idle"
    assert why_waits("a", seen, 102.0) == why
    seen.devices["GPU-a"].idle = True
    assert why_waits("a", seen, 102.0) == "its turn comes next"
    both = je.AttemptStarted("a", 1, ("GPU-a", "GPU-b"), 103.0)
    assert sentence(both, seen) == "a: attempt 1 started on GPU 0, GPU 1"
    failed = je.AttemptFailed("a", 1, both.devices, "failed", "exit code 1", 1.0)
    assert sentence(failed, seen) == "a: attempt 1 on GPU 0, GPU 1: failed: exit code 1"


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (NEEDS_MEMORY, "out of memory: needs a device with more than 1.0 GiB free"),
        (RetryReason(RetryCode.DEVICE_ERROR, Kind.DEVICE_ERROR, 30.0), "device error"),
        (RetryReason(RetryCode.FAILED, Kind.FAILED, 30.0), "no idle device"),
    ],
)
def test_after_its_back_off_a_task_waits_for_what_not_every_device_has(
    reason: RetryReason, text: str
) -> None:
    waiting = progress(reason, not_before=130.0)
    assert why_waits("a", waiting, 120.0).endswith("; 10 s to go")
    assert why_waits("a", waiting, 140.0).startswith(text)


def test_the_words_of_version_0_1_0_mean_what_they_meant() -> None:
    line = b'{"at": 1, "event": "waits", "task": "a", "not_before": 2, "why": "%s"}'
    why = "out of memory: needs a device with more than 10.0 GiB free"
    for words, said in ((why, why), ("waits 10 s after: failed", "no idle device")):
        entry = parse_entry(line % words.encode())
        assert entry is not None
        waiting = progress()
        waiting.apply(entry)
        assert why_waits("a", waiting, 3.0).startswith(said)


def test_every_kind_of_event_is_a_sentence_or_silent() -> None:
    silent = (je.AttemptEnded, je.Notified, je.ShareAsked, je.Snapshot)
    assert {type(event) for event in SAMPLES} == set(get_args(je.JournalEvent))
    for event in SAMPLES:
        text = sentence(event, progress())
        assert (text is None) == isinstance(event, silent), event
        assert text is None or text.isprintable()
