"""How the runs of a sweep went: what ran when and where, idle gaps, failures, disturbances."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from scheduler.config.sweep import Task
from scheduler.core.journal_events import (
    AttemptEnded,
    AttemptFailed,
    AttemptStarted,
    DispatcherStarted,
    TaskWaits,
)
from scheduler.core.progress import SweepProgress
from scheduler.core.retry import RetryCode
from scheduler.core.snapshot import FAILED
from scheduler.storage.journal import JournalReader
from scheduler.storage.json_files import as_number
from scheduler.storage.paths import SweepPaths

_SHORTEST_GAP = 1.0  # seconds; less is the start of the next attempt
MOST_GAPS = 20  # that are listed


@dataclass
class Ran:
    """One attempt on a device; times of day in seconds, None where the journal does not tell the end."""

    sweep: str
    task: str
    attempt: int
    device: str
    started: float
    ended: float | None = None
    cause: str = ""
    # Of a task in two stages: which of them it was, if the timed one was done by then.
    stage: str = ""


@dataclass(frozen=True)
class Gap:
    """A time in which a device ran nothing, between two attempts; times of day in seconds."""

    sweep: str
    device: str
    began: float
    ended: float
    # No dispatcher ran all the time: the next attempt is another one's.
    between_runs: bool

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        return self.ended - self.began


def read_history(sweep: str, paths: SweepPaths) -> tuple[list[Ran], list[Gap]]:
    """Return what ran by the journal, and when its devices ran nothing, the longest gaps first."""
    found: dict[tuple[str, int, str], Ran] = {}
    starts: list[float] = []
    # By task: its newest attempt, on each of its devices; and the attempt that did its timed stage.
    newest: dict[str, list[Ran]] = {}
    staged: dict[str, int] = {}
    for entry in JournalReader(paths.journal):
        event = entry.event
        if isinstance(event, AttemptStarted):
            for device in event.devices:
                key = (event.task, event.attempt, device)
                found[key] = Ran(sweep, event.task, event.attempt, device, event.started)
                if event.attempt > staged.get(event.task, event.attempt):
                    found[key].stage = "untimed stage"
            newest[event.task] = [found[event.task, event.attempt, d] for d in event.devices]
        elif isinstance(event, TaskWaits) and event.reason.code is RetryCode.STAGE_DONE:
            for one in newest.get(event.task, ()):
                staged[event.task], one.stage = one.attempt, "timed stage"
        elif isinstance(event, AttemptEnded | AttemptFailed):
            keys = ((event.task, event.attempt, device) for device in event.devices)
            for one in (found[key] for key in keys if key in found):
                if isinstance(event, AttemptEnded):
                    one.ended = event.ended
                else:
                    one.cause = event.cause
        elif isinstance(event, DispatcherStarted):
            starts.append(entry.at)
    ran = list(found.values())
    return ran, sorted(_gaps(sweep, ran, sorted(starts)), key=lambda gap: -gap.seconds)


def _gaps(sweep: str, ran: Sequence[Ran], starts: Sequence[float]) -> Iterator[Gap]:
    ordered = sorted(ran, key=lambda one: (one.device, one.started))
    for device, own in groupby(ordered, key=lambda one: one.device):
        free: float | None = None
        for one in own:
            if free is not None and one.started - free >= _SHORTEST_GAP:
                again = bisect_right(starts, one.started) > bisect_right(starts, free)
                yield Gap(sweep, device, free, one.started, again)
            # Of one that has no end nobody knows until when it ran.
            free = None if one.ended is None else max(one.ended, free or 0.0)


def failures_of(
    sweep: str, progress: SweepProgress, tasks: Sequence[Task]
) -> Iterator[dict[str, str]]:
    """Yield each task that failed, or waits after a failure, with its cause."""
    for task in tasks:
        view = progress.tasks[task.id]
        if view.cause and view.state != "completed":
            state = "failed" if view.state == FAILED else "waits to be tried again"
            yield {"sweep": sweep, "task": task.id, "state": state, "cause": view.cause}


def course_in_words(name: str, progress: SweepProgress) -> str:
    """Return how a sweep stands, and what its runs lost."""
    counts = ", ".join(f"{count} {state}" for state, count in progress.counts.items() if count)
    return (
        f"{name}: {counts or 'no tasks'}; devices stood idle for {progress.idle_seconds:.0f} s while tasks "
        f"waited, attempts that failed took {progress.lost_seconds:.0f} s"
    )


def disturbances_in_words(disturbed: object) -> str:
    """Return what disturbed a row's batches, as its worker wrote it: how many were retaken, how many kept."""
    if not isinstance(disturbed, Mapping):
        return ""
    return "; ".join(f"{kind}: {_counts(counts)}" for kind, counts in disturbed.items())


def _counts(counts: Any) -> str:
    told = counts if isinstance(counts, Mapping) else {}
    known = ((word, as_number(told.get(word))) for word in ("retaken", "kept"))
    return ", ".join(f"{number:.0f} {word}" for word, number in known if number) or "disturbed"
