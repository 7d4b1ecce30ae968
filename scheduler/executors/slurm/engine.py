"""The thread that speaks to Slurm and looks at the files of attempts; whatever it finds is posted.

However many attempts there are, Slurm is asked for all jobs at once, every few seconds, and only while there
are any. For attempts that wait it is given arrays of jobs, each of which takes the oldest order that it
finds. An attempt's own news comes by its files, sooner than Slurm would have it.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence

from scheduler.config.cluster.settings import SlurmSettings
from scheduler.config.printable import printable
from scheduler.core.events import Queued
from scheduler.executors import base
from scheduler.executors.base import ExecutorEvent
from scheduler.executors.cluster.files import begun, untaken
from scheduler.executors.local import wire
from scheduler.executors.slurm import node_check
from scheduler.executors.slurm.arrays import Arrays, Batch, Element
from scheduler.executors.slurm.commands import (
    Limits,
    Listed,
    Mark,
    SlurmError,
    Submission,
    Submitter,
)
from scheduler.executors.slurm.fate import Doubt, JobState, understood
from scheduler.executors.slurm.jobs import Job
from scheduler.storage.attempts_file import EndLine, is_locked, latest, read_attempts
from scheduler.storage.paths import SweepPaths

LOOK = 0.5  # seconds between two looks at the files of attempts
POLL = 4.0  # seconds between two questions to Slurm, and between two arrays unless most orders lack one
TO_END = 12.0  # seconds in which Slurm hears of a job's end
TO_BEGIN = 20.0  # seconds in which a job that runs takes an order, if ever
SOON = 1.0  # seconds between two arrays at least
_TOGETHER = 0.1  # seconds; orders that are so close together are for one array
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds until Slurm is asked again whether it takes jobs
_REASON_FOR = 60.0  # seconds for which why an attempt waits is told once
# Orders: from an executor's thread to this one.
Order = Callable[[], None]


class Engine(threading.Thread):
    """Submits, cancels, asks and looks."""

    def __init__(
        self,
        settings: SlurmSettings,
        paths: SweepPaths,
        sweep: str,
        words: Sequence[str],
        post: Callable[[ExecutorEvent], None],
        tell: Callable[[Job, str], None],
        slurm: Submitter,
    ) -> None:
        """Begin without jobs.

        Args:
            settings: what jobs ask for.
            paths: of the sweep's files.
            sweep: its name.
            words: what a job runs; its array's token is to follow.
            post: takes what happens to attempts; the last event of one ends it here.
            tell: takes why an attempt waits.
            slurm: takes the jobs.
        """
        super().__init__(name="slurm", daemon=True)
        self._settings = settings
        self._paths = paths
        self._sweep = sweep
        self._folder = hashlib.sha256(str(paths.jobs.absolute()).encode()).hexdigest()[:16]
        self._words = list(words)
        self._post = post
        self._tell = tell
        self._slurm = slurm
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._jobs: dict[str, Job] = {}
        self.arrays = Arrays(settings.at_most)
        self._limits: Limits | None = None
        self._next_poll = 0.0
        self._next_look = 0.0
        # When the first and the last order came for which no array was submitted yet.
        self._gathering: tuple[float, float] | None = None
        # When the last array was submitted, and when the next one may be.
        self._last_array = 0.0
        self._next_array = 0.0
        # Slurm has said which arrays there are.
        self._polled = False
        # Of more elements Slurm would not take an array now.
        self._largest = 1 << 20
        # Slurm takes no array now: for how long that was put off.
        self._pause = 0.0
        # More elements came than there were orders, when Slurm was last asked.
        self._too_many = False
        # Elements whose attempt is over, and since when (monotonic): the word that one has ended can be lost,
        # and it keeps its GPUs.
        self._ended: dict[Element, float] = {}
        # Nodes that lack what attempts need, and what each lacks.
        self._excluded: dict[str, str] = {}
        # What Slurm's commands call the jobs that are to be cancelled.
        self._unwanted: list[str] = []

    # --- orders, from another thread -----------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Have an attempt begun whose order is written."""

        def begin() -> None:
            self._jobs[job.task] = job
            now = time.monotonic()
            self._gathering = (self._gathering or (now, now))[0], now
            self._post(Queued(job.task))

        self._orders.put(begin)

    def watch(self, job: Job) -> None:
        """Look after an attempt of another dispatcher's, taken or not."""

        def begin() -> None:
            self._jobs[job.task] = job
            self._next_poll = 0.0

        self._orders.put(begin)

    def cancel(self, job: Job) -> None:
        """End an attempt, begun or not."""
        self._orders.put(lambda: self._cancel(job))

    def finish(self) -> None:
        """End; jobs that have, or will have, an attempt go on."""
        self._orders.put(None)

    # --- the thread ----------------------------------------------------------------------------

    def run(self) -> None:
        while self.carry_out():
            now = time.monotonic()
            if now >= self._next_look:
                self._next_look = now + LOOK
                self._look()
            if now >= self._next_poll and self._is_concerned():
                self._poll()
            self._supply()
        self._give_back()

    def _is_concerned(self) -> bool:
        return bool(self._jobs or self.arrays.coming or self._ended)

    def carry_out(self) -> bool:
        """Carry out all orders that there are; wait a while for the first. Say whether to go on."""
        patience = None
        if self._is_concerned():
            patience = LOOK if self._gathering is None else _TOGETHER
        with contextlib.suppress(queue.Empty):
            order = self._orders.get(timeout=patience)
            while order is not None:
                order()
                order = self._orders.get_nowait()
            return False
        self._cancel_unwanted()
        return True

    def _cancel_unwanted(self) -> None:
        if self._unwanted:
            with contextlib.suppress(SlurmError):  # they are stopped by their files, too
                self._slurm.cancel(self._unwanted)
            self._unwanted = []

    def _waiting(self) -> list[Job]:
        return [job for job in self._jobs.values() if not job.taken]

    # --- arrays --------------------------------------------------------------------------------

    def _supply(self) -> None:
        """Have as many elements in Slurm's queue as orders wait."""
        now, waiting = time.monotonic(), self._waiting()
        if self._gathering is not None:
            first, last = self._gathering
            if now < min(first + SOON, last + _TOGETHER):
                return
            self._gathering = None
        spacing = POLL if 2 * self.arrays.coming > len(waiting) else SOON
        due = max(self._last_array + spacing, self._next_array)
        lacking = len(waiting) - self.arrays.coming
        if now < due or lacking <= 0 or 4 * lacking < len(waiting):  # a few can wait for more
            return
        try:
            self._submit_for(len(waiting))
        except SlurmError as error:
            self._not_taken(waiting[self.arrays.coming :], str(error))
        self._last_array = time.monotonic()

    def _submit_for(self, orders: int) -> None:
        """Submit arrays until an element comes for each order, or no more may.

        Raises:
            SlurmError: Slurm takes no job now.
        """
        if self._limits is None:
            self._limits = self._slurm.limits()
        if not self._polled:  # another dispatcher may have left some
            self.take_listed(self._slurm.jobs(self._folder))
        while (batch := self.arrays.lacking(orders, self._limits, self._largest)) is not None:
            token = uuid.uuid4().hex
            mark = Mark(token, self._folder, self._sweep)
            try:
                number = self._submit(mark, batch)
            except SlurmError:
                if batch.elements == 1:
                    raise
                self._largest = 1  # a limit of its user's, perhaps: less may do
                continue
            self.arrays.submitted(token, number, batch)
            self._largest = min(1 << 20, 2 * self._largest)
            self._pause = 0.0

    def _submit(self, mark: Mark, batch: Batch) -> int:
        words, nodes = [*self._words, mark.array], list(self._excluded)
        try:
            return self._slurm.submit(Submission(self._settings, mark, words, *batch, nodes))
        except SlurmError as error:
            without = "; ".join(self._excluded.values())
            raise SlurmError(f"{error}; {without}" if without else str(error)) from None

    def _leave_alone(self) -> None:
        """Have Slurm leave nodes alone that lack what attempts need; tell of each once."""
        for array, index, told in node_check.unfit(self._paths.jobs):
            waiting = self.arrays.refused(Element(array, index))
            node = str(told["node"])
            if node in self._excluded:
                continue
            why = printable(
                f"node {node} is not used: {told.get('why')} there; install what this machine has"
            )
            self._excluded[node] = why
            for number in waiting:
                with contextlib.suppress(SlurmError):  # then its elements there find that out
                    self._slurm.exclude(number, list(self._excluded))
            for job in self._waiting()[:1]:
                self._wait(job, why)

    def _not_taken(self, lacking: Sequence[Job], why: str) -> None:
        self._pause = min(LONGEST_PAUSE, 2 * self._pause or FIRST_PAUSE)
        self._next_array = time.monotonic() + self._pause
        for job in lacking:
            self._wait(job, f"Slurm takes no job now: {why}")

    def _wait(self, job: Job, why: str) -> None:
        """Tell why an attempt waits, if that is new; Slurm's reasons may change at each look."""
        now, alike = time.monotonic(), why.partition(" ")[0] == job.reason.partition(" ")[0]
        if why != job.reason and not (alike and now < job.told + _REASON_FOR):
            job.reason, job.told = why, now
            self._tell(job, why)

    def _give_back(self) -> None:
        """Cancel what no order waits for."""
        if names := self.arrays.surplus(len(self._waiting())):
            with contextlib.suppress(SlurmError):  # they find no order, and end
                self._slurm.cancel(names, waiting=True)

    # --- attempts ------------------------------------------------------------------------------

    def _cancel(self, job: Job) -> None:
        if self._jobs.get(job.task) is not job:
            return
        if not job.taken and job.files.withdraw():  # now it never begins
            self._over(job, base.Ended(job.task, EndLine(ended=time.time(), stopped=True)))
            return
        job.taken = True
        self._find_element(job)
        job.files.revoke()
        if job.element is not None and (name := self.arrays.name(job.element)) is not None:
            self._unwanted.append(name)

    def _poll(self) -> None:
        """Ask Slurm for all jobs; where it does not answer, nothing follows."""
        with contextlib.suppress(SlurmError):
            asked = time.monotonic()
            self.take_listed(self._slurm.jobs(self._folder))
            shared = Counter(job.element for job in self._jobs.values())
            for job in list(self._jobs.values()):
                if job.taken:
                    self._judge(job, shared[job.element] == 1, asked)
            if (line := self.arrays.waits()) is not None:
                for job in self._waiting():
                    self._wait(job, f"job {line.base} is in Slurm's queue: {line.reason}")
            for number, at_once in self.arrays.throttles():
                self._slurm.allow(number, at_once)
            self._end_what_lingers(asked)
            too_many = len(self._waiting()) < self.arrays.coming
            if too_many and (self._too_many or not self._jobs):
                self._give_back()
            self._too_many = too_many
        self._next_poll = time.monotonic() + POLL

    def _end_what_lingers(self, now: float) -> None:
        """Cancel jobs that Slurm has for alive though their attempts are over."""
        busy = {job.element for job in self._jobs.values()}
        for (
            element
        ) in self.arrays.without_order():  # its attempt's dispatcher has seen that end, perhaps
            self._ended.setdefault(element, now + TO_BEGIN)
        for element, since in list(self._ended.items()):
            line, name = self.arrays.line(element), self.arrays.name(element)
            state = understood(None if line is None else line.state)
            if element in busy or state not in (JobState.QUEUED, JobState.LIVES):
                del self._ended[element]
            elif since + TO_END < now and name is not None:
                self.arrays.ended(element)
                self._unwanted.append(name)
        self._cancel_unwanted()

    def take_listed(self, lines: Sequence[Listed]) -> None:
        """Take what squeue says; an order goes with each element that should have taken it, and never did."""
        self._polled = True
        self._look()  # what has ended by now may have taken an order since the last look
        busy = {job.element for job in self._jobs.values() if job.element is not None}
        ours = {job.files.token for job in self._jobs.values()}
        for files in begun(self._paths.jobs):  # what runs of others is not to be waited for
            if files.token not in ours and (found := files.taken_by()) is not None:
                busy.add(Element(*found))
        for line in self.arrays.listed(lines, busy):
            waiting = self._waiting()
            if len(waiting) > self.arrays.coming and waiting[-1].files.withdraw():
                why = f"Slurm's job {line.number} was {line.state} before its attempt began"
                end = EndLine(ended=time.time(), not_started=f"{why} (reason: {line.reason})")
                self._over(waiting[-1], base.Ended(waiting[-1].task, end))

    def _judge(self, job: Job, only_one: bool, asked: float) -> None:
        """Take note of what Slurm says of an attempt's job.

        Args:
            job: the attempt.
            only_one: no other attempt was taken by the same element. A controller that crashes just after it
                has begun one begins it again when it is back: what it says is then of the second.
            asked: when it was asked.
        """
        known = job.element is not None and only_one
        line = self.arrays.line(job.element) if job.element is not None and known else None
        state = understood(None if line is None else line.state)
        job.out_of_time = line is not None and line.state == "TIMEOUT"
        if state in (JobState.QUEUED, JobState.LIVES):
            job.doubt = None
        elif job.doubt is None or job.doubt.state is not state:
            job.doubt = Doubt(state, asked, job.files.sign())

    def _look(self) -> None:
        """Look at the files of all attempts: at each that was taken, and at all others by one listing."""
        self._leave_alone()
        waiting = untaken(self._paths.jobs) if any(self._waiting()) else set()
        for job in list(self._jobs.values()):
            job.taken = job.taken or job.files.token not in waiting
            if job.taken:
                self._find_element(job)
                self._hear(job)
                self._decide(job)

    def _find_element(self, job: Job) -> None:
        """See which element has taken an attempt, once that has said so."""
        if job.element is not None:
            return
        if (found := job.files.taken_by()) is not None:
            job.element = Element(*found)
            self.arrays.took(job.element)

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
        if job.element is not None:
            self.arrays.ended(job.element)
            self._ended[job.element] = time.monotonic()
        job.files.remove()
        self._post(event)
