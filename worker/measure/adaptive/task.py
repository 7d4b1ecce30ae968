"""One task searched adaptively: a race decides, and its looks at prompts are studies of the task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from worker.config.settings import NoTiming
from worker.errors import ConfigurationError
from worker.measure.adaptive.confirming import Verdict, verdict
from worker.measure.adaptive.decisions import Ask, Goal
from worker.measure.adaptive.outcome import Outcome, row_of
from worker.measure.adaptive.pooling import pooled, scores_of
from worker.measure.adaptive.proposing import Figures, Proposals
from worker.measure.adaptive.race import Race
from worker.measure.session import Session
from worker.measure.settings import TaskRequest, settings_of
from worker.measure.task.task_run import Standing, TaskRun
from worker.results.file import ResultsFile
from worker.results.null_arm import NullArm
from worker.results.row import MEASURED, Row
from worker.results.statistics import Estimate
from worker.results.summary import Summary, gpu_seconds, in_words
from worker.search.configuration import BASELINE, Configuration
from worker.search.looks import MOST_CONFIRMED, first_look, quick
from worker.search.plan import Plan
from worker.search.section import Search
from worker.search.studies import Study, confirmation, prompts_to_confirm, unfit_to_search
from worker.types import Pipeline

Say = Callable[[str], None]


def goal_of(search: Search) -> Goal:
    """Return what a search section wants found."""
    return Goal(search.wants, search.max_loss, search.target_speedup)


def run_adaptive(
    request: TaskRequest,
    results: ResultsFile,
    device: str,
    say: Say,
    pipeline: Pipeline | None = None,
    captions: Sequence[str] = (),
) -> Summary:
    """Search, confirm what was found, append all of it, and return the task's summary.

    Args:
        request: the task.
        results: what an earlier attempt measured; the search goes on behind it.
        device: a torch device.
        say: called with each line for the log.
        pipeline: a loaded one to search for, instead of the task's.
        captions: of all prompts, where they are not to be read.

    Raises:
        WorkerError: the task cannot be run (see its subclasses), or the results not be written.
        OutOfMemoryError: the pipeline or its baseline does not fit on the device.
    """
    refused = unfit_to_search(request.search, request.num_samples, request.confirm)
    if refused is not None:
        raise ConfigurationError(": ".join(refused))
    confirm = prompts_to_confirm(request.search, request.num_samples, request.confirm)
    own = Study("", request.num_samples, request.batch_size, seed=request.seed)
    (again,) = confirmation(own, confirm)
    asked = replace(request.task, image_size=request.search.image_size)
    with Session(asked, device, say, pipeline, captions) as session:
        session.prompts(settings_of(request, own, device).captions, again)
        task = TaskRun(request, results, device, session, say)
        plan = task.plan(own)
        for item in plan.left_out:
            say(f"left out: {item.label}: {item.reason}")
        searched = _Search(request, task, plan, again, say)
        outcome = searched.run()
    results.append({"decisions": [item.as_json() for item in outcome.race.decisions]})
    summary = outcome.summary()
    results.append({"summary": summary.as_json()})
    for line in (*outcome.in_words(), *in_words(summary)):
        say(line)
    return summary


class _Search:
    """The race, and the measurements that it asks for.

    Args:
        request: the task.
        task: what measures.
        plan: its configurations; the candidates race.
        again: on what the chosen one is confirmed.
        say: called with each line for the log.
    """

    def __init__(
        self, request: TaskRequest, task: TaskRun, plan: Plan, again: Study, say: Say
    ) -> None:
        search = request.search
        task = task.with_progress(self._how_far)
        self._request = request
        self._plan = plan
        self._again = again
        self._say = say
        self._goal = goal_of(search)
        self._timed = task.with_timing(quick(search.timing))
        self._scored = task.with_timing(NoTiming())
        self._careful = task
        candidates = [item.label for item in plan.configurations if item.role == "candidate"]
        self._first = first_look(request.num_samples, request.batch_size)
        self._race = Race(candidates, self._goal, request.num_samples, self._first)
        self._looks: dict[str, list[Row]] = {}
        self._seen: dict[str, Row] = {}
        # Of all looks before this one, and what this one asks for.
        self._images_seen = 0
        self._asked: Ask | None = None
        self._confirmed: list[Row] = []
        self._verdicts: list[Verdict] = []
        self._said = 0

    def run(self) -> Outcome:
        """Race, and confirm what comes out, until that is confirmed or none is left to be."""
        self._say(f"looking for {self._goal.in_words()}")
        if self._plan.proposals:
            self._propose()
        self._race_on()
        while (chosen := self._race.found().best) is not None:
            if not self._confirm(chosen):
                self._stop_for_budget()
                break
            if self._verdicts[-1].keeps:
                break
            if len(self._verdicts) == MOST_CONFIRMED:
                self._race.stop(f"{MOST_CONFIRMED} were chosen, and none is confirmed")
                break
            self._race_on()
        self._say_decisions()
        return Outcome(
            self._request,
            self._plan,
            self._race,
            self._pooled_rows(),
            self._confirmed,
            self._verdicts,
        )

    @property
    def _configurations(self) -> dict[str, Configuration]:
        return {item.label: item for item in self._plan.configurations}

    def _propose(self) -> None:
        """Have configurations proposed by the first looks at those before, until there are enough."""
        proposals = Proposals(self._plan, self._goal, self._request.seed)
        while new := proposals.next():
            self._race.add([item.label for item in new])
            ask = self._race.ask()
            assert ask is not None and ask.what == "speed", "their speeds are not known"
            self._answer(ask)
            self._say_decisions()
            if self._race.unmeasured:
                break
            proposals.tell({label: _seen_first(parts) for label, parts in self._looks.items()})
        self._say_decisions()

    def _race_on(self) -> None:
        """Measure what the race asks for, until it is over or the time is spent."""
        while (ask := self._race.ask()) is not None:
            self._say_decisions()
            if not self._answer(ask):
                self._stop_for_budget()
            self._say_decisions()
        self._say_decisions()

    def _say_decisions(self) -> None:
        for item in self._race.decisions[self._said :]:
            about = "" if item.name is None else f"{item.name}: "
            self._say(f"{item.what}: {about}{item.why} ({item.images} images so far)")
        self._said = len(self._race.decisions)

    @property
    def _spent(self) -> str:
        return f"the budget of {self._request.search.budget:g} s is spent"

    def _stop_for_budget(self) -> None:
        if self._race.stopped != self._spent:
            self._race.stop(self._spent)

    def _is_spent(self, further: Sequence[Row] = ()) -> bool:
        """Say whether there is no time left, by the rows, so that those of earlier attempts count too.

        Args:
            further: what is measured of a look that is not over.
        """
        budget = self._request.search.budget
        rows = [row for parts in self._looks.values() for row in parts]
        each = {(row.digest, row.key): row for row in (*rows, *self._confirmed, *further)}
        return budget is not None and (gpu_seconds([*each.values()]) or 0.0) >= budget

    def _confirm(self, chosen: str) -> bool:
        """Measure what was chosen on other prompts and tell the race.

        The first is confirmed in any case; False where there is no time for a further one.
        """
        wanted = self._to_confirm(chosen)
        is_first = not self._verdicts
        if not is_first and self._is_spent() and not self._careful.is_measured(self._again, wanted):
            return False
        self._confirmed = self._careful.measure(self._again, wanted)
        judged = verdict(
            chosen,
            row_of(self._confirmed, self._configurations[chosen]),
            NullArm.of(self._confirmed),
            self._goal,
            len(self._verdicts),
        )
        self._verdicts.append(judged)
        images = self._cost(self._confirmed)
        if judged.keeps:
            self._race.confirmed(chosen, judged.why, images)
        else:
            self._race.pass_over(chosen, judged.why, images, is_refuted=judged.is_refuted)
        return True

    def _to_confirm(self, chosen: str | None) -> list[Configuration]:
        """Return what is to be confirmed as things stand, what was before, and the controls that judge it."""
        labels, keys = {chosen}, {row.key for row in self._confirmed}
        if self._goal.wants == "frontier" and self._request.confirm:
            labels |= set(self._race.found().frontier)
        return [
            item
            for item in self._plan.configurations
            if item.label in labels
            or item.key in keys
            or item.role == "baseline"
            or item.steps
            or item.seeds
        ]

    def _answer(self, ask: Ask) -> bool:
        """Measure what is asked for and tell the race; False where there is no time for any of it."""
        self._asked = ask
        wanted = [self._configurations[name] for name in ask.names]
        if ask.what == "speed":
            # controls as well: they are what candidates are held against
            controls = [item for item in self._plan.configurations if item.role == "control"]
            is_first = not self._looks
            rows = self._measure(
                self._timed, 0, self._first, [*controls, *wanted] if is_first else wanted
            )
            names = [name for name in ask.names if name in rows]
            told = {name: _speed(rows[name]) for name in names}
            self._race.tell_speed(told, self._cost(rows.values()))
            if len(names) < len(ask.names):
                self._race.leave([name for name in ask.names if name not in rows], self._spent)
            return True
        run = self._timed if ask.first == 0 else self._scored
        rows = self._measure(run, ask.first, ask.count, wanted)
        pairs = {name: scores_of(rows[name]) for name in ask.names if name in rows}
        self._race.tell_scores(pairs, self._cost(rows.values()))
        return bool(pairs)

    def _measure(
        self, run: TaskRun, first: int, count: int, wanted: Sequence[Configuration]
    ) -> Mapping[str, Row]:
        """Return a row of each by its label, the baseline's too; only of some where the time is spent."""
        own = self._request
        study = Study(
            f"prompts {first + 1} to {first + count}",
            count,
            own.batch_size,
            first_prompt=first,
            seed=own.seed,
            is_part=True,
        )
        configurations = [BASELINE, *(item for item in wanted if item.role != "baseline")]
        measured = run.measured(study, configurations)
        if len(measured) < len(configurations) and not self._is_spent(measured):
            measured = run.measure(
                study,
                configurations,
                lambda: self._is_spent(run.measured(study, configurations)),
            )
        labels = {item.key: item.label for item in configurations}
        rows = {labels[row.key]: row for row in measured}
        for label, row in rows.items():
            parts = self._looks.setdefault(label, [])
            if row not in parts:
                parts.append(row)
        self._images_seen += count * len(rows)
        return rows

    def _how_far(self, look: Standing) -> str:
        """Say it by images, of all that are made if no more candidates are dropped.

        Args:
            look: how far the look is, or the confirmation, which comes last.
        """
        seen = self._images_seen + look.done * look.wanted + look.measuring * look.images
        ahead = self._images_seen + look.configurations * look.wanted
        if self._race.stopped is None:
            assert self._asked is not None, "a look is asked for"
            ahead += self._race.images_left - look.wanted * (1 + len(self._asked.names))
            ahead += self._request.num_samples * (
                len(self._plan.expected) - len(self._plan.configurations)
            )
            best = self._race.found().best
            ahead += self._again.count * (len(self._to_confirm(best)) + (best is None))
            seen += self._again.count * len(self._confirmed)
        left = f"{self._race.left} candidates left" if self._race.left != 1 else "1 candidate left"
        return f"{seen} of {ahead} images if no more are dropped, {left}"

    def _cost(self, rows: Iterable[Row]) -> int:
        """Return how many images rows cost that were not counted before."""
        new = {f"{row.digest} {row.key}": row for row in rows}
        images = sum(row.images_generated for key, row in new.items() if key not in self._seen)
        self._seen |= new
        return images

    def _pooled_rows(self) -> list[Row]:
        """Return, and append, one row for each configuration: all looks at it together."""
        rows = []
        for label, parts in self._looks.items():
            measured = pooled(parts, label, self._loss(label))
            seen = sum(len(row.samples.clip_score) for row in parts)
            study = Study("", max(1, seen), self._request.batch_size, seed=self._request.seed)
            rows.append(self._timed.add_pooled(measured, study, parts[0]))
        return rows

    def _loss(self, label: str) -> Estimate | None:
        """Return a candidate's loss as the race knows it."""
        is_in_race = self._configurations[label].role == "candidate"
        return self._race.loss_of(label) if is_in_race else None


def _seen_first(parts: Sequence[Row]) -> Figures | None:
    """Return the speed-up and loss of a first look; None where it failed."""
    speedup, loss = map(parts[0].value_of, ("speedup", "quality_loss"))
    return None if speedup is None or loss is None else (speedup, loss)


def _speed(row: Row) -> float | str:
    """Return the speed-up, or why there is none."""
    if row.status != MEASURED:
        return row.status
    speedup = row.value_of("speedup")
    return "its speed is not known" if speedup is None else speedup
