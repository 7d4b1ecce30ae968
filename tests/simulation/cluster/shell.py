"""The dispatcher on a cluster: the shell of one machine, with an engine between it and its attempts.

It hears of attempts by the files that it shares with them, and asks the engine now and then. What it makes of
the answers is decided by the real rules, executors/slurm/fate.py; they are looked up at each call, so that
bugs can be planted there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scheduler.core import events as ev
from scheduler.core.retry import JudgedAttempt
from scheduler.core.verdict import SWEEP_CHANGED, Kind, Verdict
from scheduler.executors.slurm import fate
from scheduler.executors.slurm.fate import JobState
from tests.simulation.cluster.model import Job
from tests.simulation.model import Record, Supervisor
from tests.simulation.safety import demand
from tests.simulation.shell import Shell

if TYPE_CHECKING:
    from tests.simulation.cluster.world import ClusterWorld

MOST_JUDGED = (
    100  # slots up to which each decision is judged in full: that takes a look at all of them
)
FIRST_PAUSE, LONGEST_PAUSE = (
    5.0,
    60.0,
)  # seconds until the engine is asked again whether it takes a job


class _NotJudged:
    """In place of LivenessProperties."""

    def told(self, *_: object) -> None: ...

    def decided(self, *_: object) -> None: ...


class ClusterShell(Shell):
    """One dispatcher on a cluster, from its start to its end or death."""

    world: ClusterWorld

    def __init__(self, world: ClusterWorld, *, adopt: bool) -> None:
        super().__init__(world, adopt=adopt)
        self._doubts: dict[Job, fate.Doubt] = {}
        # Jobs of its own that the core knows to run; it takes the others for queued.
        self.told_begun: set[Job] = set()
        # The engine takes no job: for how long it is let alone, and whether it will be asked again.
        self._pause = 0.0
        self._asks = False
        self._polls = False
        if len(world.gpus) > MOST_JUDGED:
            self._liveness = _NotJudged()

    # --- attempts ------------------------------------------------------------------------------

    def _supervisor(self, task: str, order: Record, size: int) -> Supervisor:
        """Have a job submitted, unless one that a dispatcher left in the queue is the same."""
        self._poll_soon()
        for left in self.world.left_in_the_queue(task):
            before = left.record
            same = (order.number, order.settings, order.halvings)
            if (before.number, before.settings, before.halvings) == same:
                self.world.note("taken from the queue", task, order.number)
                left.listener = self
                self.post(partial(self.queued, left))
                return left
            left.withdraw()
            self.world.engine.cancel(left)
        return Job(self.world, task, order, size, self)

    def queued(self, job: Job) -> None:
        """Hear that the engine has taken a job."""
        self.post(partial(self._in_the_queue, job))

    def _in_the_queue(self, job: Job) -> None:
        if self._is_ours(job):
            self.handle(ev.Queued(job.task))
            if self._pause:
                self._pause = 0.0
                self._offer(self._free())

    def began(self, job: Job) -> None:
        """Hear that an attempt runs."""
        self.post(partial(self._begins, job))

    def _begins(self, job: Job) -> None:
        if self._is_ours(job):
            self.told_begun.add(job)
            self.handle(ev.Began(job.task))

    def not_taken(self, job: Job) -> None:
        """Hear that the engine takes no job now: wait, less and less often."""
        self.post(partial(self._refused, job))

    def _refused(self, job: Job) -> None:
        if not self._is_ours(job):
            return
        self._pause = min(LONGEST_PAUSE, 2 * self._pause or FIRST_PAUSE)
        devices = self.places[job.task]
        del self.attempts[job.task]
        self.handle(ev.StartRefused(job.task))
        self._vacate(job.task, devices)
        for slot in self._free():
            self.handle(ev.DeviceBusy(slot))

    def _ask_later(self) -> None:
        if not self._asks:
            self._asks = True
            self.world.after(self._pause, self._ask_again)

    def _ask_again(self) -> None:
        self._asks = False
        self._offer(self._free()[:1])

    def _free(self) -> list[str]:
        return [name for name, view in self.views.items() if not view.supervisors]

    def _offer(self, slots: list[str]) -> None:
        if self.world.shell is self:
            for slot in slots:
                self.post(lambda slot=slot: self._offer_one(slot))

    def _offer_one(self, slot: str) -> None:
        if not self.views[slot].supervisors:
            self.handle(ev.DeviceIdle(slot))

    def _vacate(self, task: str, devices: tuple[str, ...]) -> None:
        for slot in devices:
            self.views[slot].supervisors.pop(task, None)
        if self._pause:
            self._ask_later()
        else:
            self._offer(list(devices))

    def _stop(self, task: str, verdict: Verdict) -> None:
        job = self.attempts.get(task)
        if not isinstance(job, Job):
            return
        if job.order_waits:
            job.withdraw()
            self.world.engine.cancel(job)
            self.post(partial(self._never_began, job, Verdict(Kind.STOPPED, verdict.cause)))
            return
        if not self.world.disk_full:
            self.world.files[task].lines += 1
            job.record.stop = verdict
        self.world.maybe_kill()
        job.stop()

    def _never_began(self, job: Job, verdict: Verdict) -> None:
        if self._is_ours(job):
            self.attempts.pop(job.task)
            devices = self.places[job.task]
            now = self.world.now
            self.handle(ev.AttemptJudged(job.task, JudgedAttempt(verdict, devices, now)))
            self._vacate(job.task, devices)

    def take_over(self, task: str, devices: tuple[str, ...]) -> None:
        records = self.world.files[task].records
        record = records[-1] if records else None
        if record is None or record.ended is not None or record.verdict is not None:
            self.unjudged.add(task)
            self.post(lambda: self._ended_unseen(task, devices))
            return
        job = record.supervisor
        job.listener = self
        self.adopted.add(job)
        self.unjudged.discard(task)
        self._occupy(job, devices)
        self._poll_soon()
        self.world.note("adopted", task, record.number)
        if not self.adopt:
            self._stop(task, Verdict(Kind.STOPPED, "not adopted (--no-adopt)"))
        elif record.settings != self.file[task]:
            self._stop(task, Verdict(Kind.STOPPED, SWEEP_CHANGED))

    def answered(self, supervisor: Supervisor, answer: str) -> None:
        if self.attempts.get(supervisor.task) is supervisor:
            super().answered(supervisor, answer)

    def _is_ours(self, job: Job) -> bool:
        return self.world.shell is self and self.attempts.get(job.task) is job

    # --- the engine's word ---------------------------------------------------------------------

    def _poll_soon(self) -> None:
        if not self._polls:
            self._polls = True
            self.world.after(self.world.poll, self._poll)

    def _poll(self) -> None:
        if self.world.shell is not self:
            return
        self.turn()
        self._polls = False
        if not self.world.engine.down:
            for job in list(self.attempts.values()):
                assert isinstance(job, Job)
                self._hear_of(job)
        for job, doubt in list(self._doubts.items()):
            self._decide(job, doubt)
        if self.attempts:
            self._poll_soon()

    def _hear_of(self, job: Job) -> None:
        if not job.submitted:
            return
        said = self.world.engine.state(job)
        state = fate.understood(said)
        doubt = self._doubts.get(job)
        if state in (JobState.QUEUED, JobState.LIVES):
            self._doubts.pop(job, None)
        elif not job.begun and job.order_waits:
            job.withdraw()
            if said is None:
                self.post(partial(self._forgotten, job))
            else:
                verdict = Verdict(Kind.NOT_STARTED, f"the job was {said} before it began")
                self.post(partial(self._never_began, job, verdict))
        elif doubt is None or doubt.state is not state:
            self._doubts[job] = fate.Doubt(state, self.world.now, job.sign)

    def _forgotten(self, job: Job) -> None:
        if self._is_ours(job):
            devices = self.places[job.task]
            del self.attempts[job.task]
            self.handle(ev.StartRefused(job.task))
            self._vacate(job.task, devices)

    def _decide(self, job: Job, doubt: fate.Doubt) -> None:
        if not self._is_ours(job):
            del self._doubts[job]
            return
        file = self.world.files[job.task]
        if doubt.is_lost(job.sign, self.world.now, self.world.lease) and file.lock is None:
            del self._doubts[job]
            job.permitted = False
            demand("what is taken for lost is dead", not job.working, job.task, job.record.number)
            devices = self.places[job.task]
            del self.attempts[job.task]
            self.unjudged.add(job.task)
            self.world.note("lost", job.task, job.record.number)
            self.post(lambda: self._ended_unseen(job.task, devices))
