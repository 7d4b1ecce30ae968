"""Where the tasks of a sweep stand when a dispatcher starts, and what the core begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scheduler.config.matrix.shuffle import shuffled
from scheduler.config.matrix.values import value_text
from scheduler.config.sweep import Sweep
from scheduler.core.retry import JudgedAttempt
from scheduler.core.states import InitialTask, Need, State
from scheduler.core.tables.order import LongestFirst, learned
from scheduler.core.verdict import Verdict
from scheduler.dispatch.clock import Clock
from scheduler.storage.attempts_file import AttemptRecord
from scheduler.storage.json_files import as_number, read_object
from scheduler.storage.paths import SweepPaths


@dataclass(frozen=True, slots=True)
class Rejected:
    """A checkpoint that does not hold, and why."""

    path: Path
    why: str
    # It has been set aside, under this path.
    aside: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint that was set aside and holds today, with the log that proves it (None: it is gone)."""

    path: Path
    log: Path | None


@dataclass(frozen=True, slots=True)
class JudgedAgain:
    """What a log that was judged by another ``validate`` section comes to by today's."""

    # The checkpoint; of a task without one, its attempts file.
    path: Path
    # None: the log is gone, so what was judged stays.
    verdict: Verdict | None
    # Why it was judged again.
    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """Its ``.done`` holds, or one that was set aside does."""

    rejected: tuple[Rejected, ...] = ()
    kept: Kept | None = None
    judged_again: JudgedAgain | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Its ``.failed`` holds, or one that was set aside does."""

    rejected: tuple[Rejected, ...] = ()
    kept: Kept | None = None
    judged_again: JudgedAgain | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """Its last attempt runs, or ended and was not judged."""

    attempt: AttemptRecord
    history: tuple[JudgedAttempt, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    # A ``.done`` that was set aside and holds: it counts when the attempt, which is of another file, is over.
    kept: Kept | None = None
    # The attempt was judged; by today's rules it comes to something else.
    judged_again: JudgedAgain | None = None
    # By then it is out of attempts.
    gives_up: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """It was not tried yet, or its attempts so far have failed."""

    history: tuple[JudgedAttempt, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    judged_again: None = None
    # It is out of attempts, by today's `retries`.
    gives_up: bool = False


Standing = Done | Failed | Running | Waiting
# What a file's name says of its task.
_STATES = {".done": "completed", ".failed": "failed"}
# One for all of them: a sweep that is resumed may have a hundred thousand.
HOLDS = Done()
_MOST_TIMES = 2000  # completions whose times are read: enough to tell values of axes apart


@dataclass(slots=True)
class Recovered:
    """The state of a sweep's files."""

    # In the sweep's order.
    standings: dict[str, Standing]
    # Of tasks that have ended, but whose attempts are still on file.
    leftovers: frozenset[str] = frozenset()
    # Attempts that run for tasks no longer in the sweep.
    unlisted: list[str] = field(default_factory=list)
    # How much work the worker says tasks are, or what is left of it, in its own unit.
    work: Mapping[str, float] = field(default_factory=dict)

    @property
    def rejected(self) -> list[tuple[str, Rejected]]:
        """Return the checkpoints that do not hold, by task."""
        found = ((task, standing.rejected) for task, standing in self.standings.items())
        return [(task, one) for task, rejected in found if rejected for one in rejected]

    def doubts(self) -> list[tuple[str, str, list[str]]]:
        """Return for what reason which tasks are not completed, or failed, any more."""
        by_reason: dict[tuple[str, str], list[str]] = {}
        for task, one in self.rejected:
            standing = self.standings[task]
            ended = isinstance(standing, Done | Failed)
            if not ended and not one.aside and one.path.suffix in _STATES:
                by_reason.setdefault((_STATES[one.path.suffix], one.why), []).append(task)
        return [(*reason, tasks) for reason, tasks in by_reason.items()]

    def judged_again(self) -> list[tuple[str, str, list[str]]]:
        """Return why which tasks were judged again, and what came of it: why, outcome, tasks."""
        found: dict[tuple[str, str], list[str]] = {}
        for task, standing in self.standings.items():
            if (again := standing.judged_again) is not None:
                state = _STATES.get(again.path.suffix, "failed")
                if again.verdict is None:
                    outcome = f"the log is gone, so it stays {state}"
                elif isinstance(standing, Running):
                    then = "" if standing.gives_up else "; tried again, as any failure"
                    outcome = (
                        f"{again.verdict.cause}{then}" if state == "completed" else "completed"
                    )
                else:
                    outcome = f"still {state}"
                found.setdefault((again.why, outcome), []).append(task)
        return [(*key, tasks) for key, tasks in found.items()]

    @property
    def unrecorded(self) -> list[str]:
        """Return completed tasks whose dispatcher died before the journal had their end."""
        return [
            task
            for task, standing in self.standings.items()
            if isinstance(standing, Done) and standing.kept is None and task in self.leftovers
        ]

    @property
    def taken_again(self) -> list[str]:
        """Return the tasks whose checkpoint was set aside and holds."""
        return [
            task
            for task, standing in self.standings.items()
            if isinstance(standing, Done | Failed) and standing.kept is not None
        ]

    @property
    def open_attempts(self) -> dict[str, AttemptRecord]:
        """Return the attempts that run, or ended and were not judged, by task."""
        return {t: s.attempt for t, s in self.standings.items() if isinstance(s, Running)}

    def with_survivors(self, found: Mapping[str, AttemptRecord]) -> Recovered:
        """Return the state in which attempts still run that no file tells of; see survivors.py."""
        running = {
            task: Running(record, standing.history, standing.rejected)
            for task, record in found.items()
            if isinstance(standing := self.standings[task], Waiting)
        }
        return replace(self, standings=self.standings | running)

    @property
    def waiting(self) -> set[str]:
        """Return the tasks that nothing is known to run of."""
        return {task for task, standing in self.standings.items() if isinstance(standing, Waiting)}

    def initial_tasks(self, clock: Clock, sweep: Sweep) -> list[InitialTask]:
        """Return what the core begins with, in the order in which it is to start them."""
        names: Sequence[str] = list(self.standings)
        if sweep.order is not None and sweep.order.kind == "random":
            names = shuffled(names, sweep.order.seed or 0)
        return [_initial_task(name, self.standings[name], clock, sweep) for name in names]

    def longest_first(self, sweep: Sweep, paths: SweepPaths) -> LongestFirst | None:
        """Return the order by tasks' work and by what completed ones took, if the sweep asks for it."""
        if not sweep.longest_first:
            return None
        done = [n for n, t in enumerate(sweep.tasks) if isinstance(self.standings[t.id], Done)]
        seconds = {}
        for number in done[:: 1 + len(done) // _MOST_TIMES]:
            content = read_object(paths.done(sweep.tasks[number].id)) or {}
            if (took := as_number(content.get("seconds"))) is not None:
                seconds[number] = took
        numbers = {task.id: number for number, task in enumerate(sweep.tasks)}
        work = {numbers[task]: amount for task, amount in self.work.items()}
        values = [tuple(map(value_text, task.values)) for task in sweep.tasks]
        return learned(values, seconds, work)


def _initial_task(task: str, standing: Standing, clock: Clock, sweep: Sweep) -> InitialTask:
    need, untimed = Need.of(sweep, task), Need.of_untimed_stage(sweep, task)
    match standing:
        case Done():
            return InitialTask(task, State.DONE)
        case Failed():
            return InitialTask(task, State.FAILED)
        case Waiting():
            return InitialTask(task, State.WAITING, standing.history, need, untimed)
        case Running():
            begun = standing.attempt.started
            return InitialTask(
                task,
                State.RUNNING,
                standing.history,
                need,
                untimed,
                devices=begun.devices,
                has=Need(memory=begun.share, alone=begun.share is None),
                started=clock.started(begun),
                halvings=begun.halvings,
            )
