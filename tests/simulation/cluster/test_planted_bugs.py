"""The simulation bites: each bug below, of the rules, the core, a guard or the shell, is found."""

from dataclasses import replace

import pytest

from scheduler.core import events as ev
from scheduler.core.core import Core
from scheduler.core.verdict import Kind, Verdict
from scheduler.executors.slurm import fate
from scheduler.executors.slurm.fate import SETTLE, Doubt, JobState
from tests.simulation.cluster.model import Job
from tests.simulation.cluster.scenario import build, live_through
from tests.simulation.cluster.shell import ClusterShell
from tests.simulation.safety import Broken

SEEDS = 500


class ChargesForALostNode(Core):
    def _judged(self, task, event):
        if event.attempt.verdict.kind is Kind.LOST:
            verdict = Verdict(Kind.FAILED, event.attempt.verdict.cause)
            event = replace(event, attempt=replace(event.attempt, verdict=verdict))
        super()._judged(task, event)


class BacksOffAfterALoss(Core):
    def _next_step(self, task):
        step = super()._next_step(task)
        lost = self._history[task][-1].verdict.kind is Kind.LOST
        return replace(step, at=step.at + 30.0) if lost and hasattr(step, "at") else step


class CountsTheTimeInTheQueue(Core):
    def _told_of_start(self, task, event):
        if not isinstance(event, ev.Queued):
            super()._told_of_start(task, event)


class ForgetsToWatchWhatBegan(Core):
    def _told_of_start(self, task, event):
        super()._told_of_start(task, event)
        if isinstance(event, ev.Began):
            self._watches.heap.clear()


class GivesASlotThatIsStillInUse(Core):
    def _stop(self, task, verdict):
        super()._stop(task, verdict)
        for name in self._running[task].devices:
            device = self._fleet[name]
            device.attempts = device.alone = 0
            device.idle = True
            self._fleet.offer(device, self._now)


# All of this module: none is planted in vain.
BUGS = [bug for bug in Core.__subclasses__() if bug.__module__ == __name__]


@pytest.mark.parametrize("core", BUGS)
def test_a_bug_of_the_core_is_found(core):
    assert _is_found(core), f"{SEEDS} seeds did not find that the core {core.__name__}"


@pytest.mark.parametrize("state", [None, "NODE_FAIL"])
def test_believing_that_what_is_not_seen_is_over_is_found(monkeypatch, state):
    understood = fate.understood
    monkeypatch.setattr(
        fate, "understood", lambda said: JobState.OVER if said == state else understood(said)
    )
    assert _is_found()


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_waiting_for_less_than_the_lease_is_found(monkeypatch, share):
    def is_lost(doubt, sign, now, lease):
        return now - doubt.since >= max(SETTLE, share * lease)

    monkeypatch.setattr(Doubt, "is_lost", is_lost)
    assert _is_found()


def test_a_doubt_that_no_sign_of_life_ends_is_found(monkeypatch):
    def is_lost(doubt, sign, now, lease):
        doubt.sign = sign
        return looks(doubt, sign, now, lease)

    looks = Doubt.is_lost
    monkeypatch.setattr(Doubt, "is_lost", is_lost)
    assert _is_found()


def test_a_guard_that_lets_its_worker_outlive_the_lease_is_found(monkeypatch):
    monkeypatch.setattr(Job, "cut_off", lambda job: None)
    assert _is_found()


def test_a_guard_that_does_not_see_that_its_attempt_was_given_up_is_found(monkeypatch):
    monkeypatch.setattr(Job, "revoke", lambda job: None)
    monkeypatch.setattr(Job, "back", lambda job: None)
    assert _is_found()


def test_a_job_that_leaves_its_order_where_it_was_is_found(monkeypatch):
    def run_on(job, node):
        runs_on(job, node)
        job.order_waits = True

    runs_on = Job.run_on
    monkeypatch.setattr(Job, "run_on", run_on)
    assert _is_found()


def test_an_order_that_is_taken_back_too_late_is_found(monkeypatch):
    monkeypatch.setattr(Job, "withdraw", lambda job: None)
    assert _is_found()


def test_a_dispatcher_that_asks_an_engine_only_once_whether_it_takes_jobs_again_is_found(
    monkeypatch,
):
    def vacate(shell, task, devices):
        with monkeypatch.context() as once:
            once.setattr(ClusterShell, "_ask_later", lambda shell: None)
            vacates(shell, task, devices)

    vacates = ClusterShell._vacate
    monkeypatch.setattr(ClusterShell, "_vacate", vacate)
    assert _is_found()


def _is_found(core=Core):
    for seed in range(SEEDS):
        try:
            live_through(build(seed, core), seed)
        except Exception as error:
            if isinstance(error, Broken) or type(error).__name__ == "ImpossibleEventError":
                return True
            raise
    return False
