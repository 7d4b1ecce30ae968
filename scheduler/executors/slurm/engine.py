"""The thread that speaks to Slurm and looks at the files of attempts; whatever it finds is posted.

However many attempts there are, Slurm is asked for all jobs at once, every few seconds, and only while there
are any. An attempt's own news comes by its files, sooner than Slurm would have it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from scheduler.config.sweep import SlurmSettings
from scheduler.core.events import Queued
from scheduler.executors import base
from scheduler.executors.base import ExecutorEvent, Refusal
from scheduler.executors.local import wire
from scheduler.executors.slurm import commands
from scheduler.executors.slurm.commands import Listed, Mark, SlurmError
from scheduler.executors.slurm.fate import Doubt, JobState, understood
from scheduler.executors.slurm.files import JobFiles
from scheduler.storage.attempts_file import EndLine, StartLine, is_locked, latest, read_attempts
from scheduler.storage.paths import SweepPaths

LOOK = 0.5  # seconds between two looks at the files of an attempt
POLL = 4.0  # seconds between two questions to Slurm
TO_END = 12.0  # seconds in which Slurm hears of a job's end
# Orders: from an executor's thread to this one.
Order = Callable[[], None]


@dataclass(slots=True)
class Job:
    """An attempt as a job of Slurm's; only the engine's thread changes it."""

    task: str
    start: StartLine | None
    files: JobFiles
    # Another dispatcher began it.
    adopted: bool = False
    # Its number, where that is known: for Slurm's commands, never to tell it from others.
    number: int | None = None
    # What it has told.
    begun: bool = False
    # So many bytes of its answers have been heard.
    heard: int = 0
    # When Slurm was told of it, or it was taken over (monotonic); 0: it was not yet.
    submitted: float = 0.0
    stopping: bool = False
    # Slurm has ended it for its time limit.
    out_of_time: bool = False
    doubt: Doubt | None = None
    # Why it waits, as was last told.
    reason: str = ""


class Engine(threading.Thread):
    """Submits, cancels, asks and looks."""

    def __init__(
        self,
        settings: SlurmSettings,
        paths: SweepPaths,
        sweep: str,
        post: Callable[[ExecutorEvent], None],
        tell: Callable[[Job, str], None],
        trouble: Callable[[Job, str], None],
    ) -> None:
        """Begin without jobs.

        Args:
            settings: what jobs ask for.
            paths: of the sweep's files.
            sweep: its name.
            post: takes what happens to attempts; the last event of one ends it here.
            tell: takes why a job waits in the queue.
            trouble: takes why Slurm takes no job now; nothing has come of that job.
        """
        super().__init__(name="slurm", daemon=True)
        self._settings = settings
        self._paths = paths
        self._sweep = sweep
        self._post = post
        self._tell = tell
        self._trouble = trouble
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._jobs: dict[str, Job] = {}
        # Tokens of attempts that were taken back or are over, and from when on a job of theirs that Slurm
        # still has is cancelled (monotonic): the word that one has ended can be lost, and it keeps its GPUs.
        self._unwanted: dict[str, float] = {}
        self._next_poll = 0.0
        self._next_look = 0.0

    # --- orders, from another thread -----------------------------------------------------------

    def submit(self, job: Job, words: list[str]) -> None:
        """Have a job submitted whose order is written."""
        self._orders.put(lambda: self._submit(job, words))

    def watch(self, job: Job) -> None:
        """Look after a job that another dispatcher has submitted."""

        def begin() -> None:
            self._jobs[job.task] = job
            job.submitted = time.monotonic()
            self._next_poll = 0.0

        self._orders.put(begin)

    def cancel(self, job: Job) -> None:
        """End an attempt, begun or not."""
        self._orders.put(lambda: self._cancel(job))

    def discard(self, token: str) -> None:
        """Have a job removed from the queue whose order was taken back."""
        self._orders.put(lambda: self._unwanted.update({token: 0.0}))

    def finish(self) -> None:
        """End; jobs go on."""
        self._orders.put(None)

    # --- the thread ----------------------------------------------------------------------------

    def run(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                order = self._orders.get(timeout=LOOK if self._jobs or self._unwanted else None)
                if order is None:
                    return
                order()
            now = time.monotonic()
            if now >= self._next_look:
                self._next_look = now + LOOK
                for job in list(self._jobs.values()):
                    self._hear(job)
                    self._decide(job)
            if now >= self._next_poll and (self._jobs or self._unwanted):
                self._poll()
                self._next_poll = time.monotonic() + POLL

    def _submit(self, job: Job, words: list[str]) -> None:
        assert job.start is not None
        mark = Mark(job.files.token, job.start.attempt, self._sweep, job.task)
        try:
            job.number = commands.submit(self._settings, mark, words)
        except SlurmError as error:
            # Should it be in the queue all the same, it finds no order.
            job.files.withdraw()
            self._unwanted[job.files.token] = 0.0
            job.files.remove()
            self._trouble(job, str(error))
            return
        job.submitted = time.monotonic()
        self._jobs[job.task] = job
        self._post(Queued(job.task))

    def _cancel(self, job: Job) -> None:
        if self._jobs.get(job.task) is not job:
            return
        job.stopping = True
        never_began = not job.begun and job.files.withdraw()
        if job.number is not None:
            with contextlib.suppress(SlurmError):  # it is stopped by its files, too
                commands.cancel(job.number)
        if never_began:
            self._over(job, base.Ended(job.task, EndLine(ended=time.time(), stopped=True)))
        else:
            job.files.revoke()

    def _poll(self) -> None:
        """Ask Slurm for all jobs; where it does not answer, nothing follows."""
        asked = time.monotonic()
        try:
            listed = commands.jobs()
        except SlurmError:
            return
        for job in list(self._jobs.values()):
            if job.submitted < asked:
                self._judge(job, listed.get(job.files.token), asked)
        for token, since in list(self._unwanted.items()):
            found = listed.get(token)
            if found is None or understood(found.state) not in (JobState.QUEUED, JobState.LIVES):
                del self._unwanted[token]
            elif since < asked:
                with contextlib.suppress(SlurmError):
                    commands.cancel(found.number)

    def _judge(self, job: Job, listed: Listed | None, asked: float) -> None:
        """Take note of what Slurm says of a job."""
        state = understood(None if listed is None else listed.state)
        if listed is not None:
            job.number = listed.number
            job.out_of_time = listed.state == "TIMEOUT"
        if listed is not None and state is JobState.QUEUED and listed.reason != job.reason:
            job.reason = listed.reason
            self._tell(job, f"job {listed.number} is in Slurm's queue: {listed.reason}")
        if state in (JobState.QUEUED, JobState.LIVES):
            job.doubt = None
            return
        if not job.begun and job.files.withdraw():  # now it never begins
            self._never_began(job, listed)
        elif job.doubt is None or job.doubt.state is not state:
            job.doubt = Doubt(state, asked, job.files.sign())

    def _never_began(self, job: Job, listed: Listed | None) -> None:
        if listed is None:  # its controller crashed, and has forgotten it
            self._unwanted[job.files.token] = 0.0
            self._over(job, base.Refused(job.task, Refusal.DEVICE_HELD))
            return
        why = f"Slurm's job {listed.number} was {listed.state} before its attempt began"
        end = EndLine(ended=time.time(), not_started=f"{why} (reason: {listed.reason})")
        self._over(job, base.Ended(job.task, end))

    def _decide(self, job: Job) -> None:
        """See whether an attempt that may be over is."""
        doubt, lease = job.doubt, self._settings.lease
        if self._jobs.get(job.task) is not job or doubt is None:
            return
        if not doubt.is_lost(job.files.sign(), time.monotonic(), lease):
            return
        if is_locked(self._paths.attempts(job.task)):
            return
        job.files.revoke()
        end = self._end_on_file(job)
        if end is None and job.out_of_time:  # Slurm's patience with it was less than its own
            end = EndLine(ended=time.time(), stopped=True, out_of_time=True)
        lost = base.Lost(job.task)
        self._over(job, lost if end is None else base.Ended(job.task, end))

    def _end_on_file(self, job: Job) -> EndLine | None:
        attempts = read_attempts(self._paths.attempts(job.task))
        record = latest(attempts, None if job.start is None else job.start.attempt)
        return record.ended if record is not None and record.verdict is None else None

    def _hear(self, job: Job) -> None:
        """Hear what an attempt's supervisor has told since."""
        data = job.files.read_answers(job.heard)
        job.heard += len(data)
        for line in data.splitlines():
            if self._jobs.get(job.task) is job:
                with contextlib.suppress(ValueError):  # no answer: a worker's, by /proc
                    self._answered(job, wire.parse(line))

    def _answered(self, job: Job, answer: wire.Answer) -> None:
        task = job.task
        match answer:
            case wire.WorkerStarted():
                if not (job.begun or job.adopted):
                    self._post(base.Started(task, answer.at))
                job.begun = True
            case wire.WorkerEnded():
                self._over(job, base.Ended(task, answer.end))
            case wire.RunRefused() if not job.adopted:
                self._over(job, base.Refused(task, answer.reason))
            case wire.RunFailed() if not (job.begun or job.adopted):
                self._over(job, base.Failed(task, answer.as_error()))
            case _:  # there was no room to record its end
                self._over(job, base.Lost(task))

    def _over(self, job: Job, event: base.AttemptEvent) -> None:
        del self._jobs[job.task]
        self._unwanted.setdefault(job.files.token, time.monotonic() + TO_END)
        job.files.remove()
        self._post(event)
