"""One task searched adaptively: a race decides, and its looks at prompts are studies of the task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.config.settings import NoTiming
from worker.errors import ConfigurationError
from worker.measure.adaptive.decisions import Ask, Goal, loss_in_words
from worker.measure.adaptive.pooling import pooled
from worker.measure.adaptive.race import Race, Scores
from worker.measure.session import Session
from worker.measure.settings import TaskRequest, settings_of
from worker.measure.task import Standing, TaskRun
from worker.results.file import ResultsFile
from worker.results.frontier import Best
from worker.results.row import MEASURED, Measurement, Row
from worker.results.statistics import Estimate
from worker.results.summary import Counts, Summary, gpu_seconds, in_words, summarise
from worker.search.configuration import BASELINE, Configuration
from worker.search.looks import first_look, quick
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
) -> Summary:
    """Search, confirm what was found, append all of it, and return the task's summary.

    Args:
        request: the task.
        results: what an earlier attempt measured; the search goes on behind it.
        device: a torch device.
        say: called with each line for the log.
        pipeline: a loaded one to search for, instead of the task's.

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
    with Session(asked, device, say, pipeline) as session:
        session.prompts(settings_of(request, own, device).captions, again)
        task = TaskRun(request, results, device, session, say)
        plan = task.plan(own)
        for item in plan.left_out:
            say(f"left out: {item.label}: {item.reason}")
        searched = _Search(request, task, plan, again, say)
        race = searched.run()
        rows = searched.pooled_rows()
        confirmed = searched.confirm()
    results.append({"decisions": [item.as_json() for item in race.decisions]})
    summary = searched.summary(rows, confirmed)
    results.append({"summary": summary.as_json()})
    for line in (*searched.in_words(confirmed), *in_words(summary)):
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
        self._configurations = {item.label: item for item in plan.configurations}
        self._timed = task.with_timing(quick(search.timing))
        self._scored = task.with_timing(NoTiming())
        self._careful = task
        candidates = [item.label for item in plan.configurations if item.role == "candidate"]
        self._first = first_look(request.num_samples, request.batch_size)
        self._race = Race(candidates, self._goal, request.num_samples, self._first)
        self._looks: dict[str, list[Row]] = {label: [] for label in self._configurations}
        self._seen: dict[str, Row] = {}
        self._pooled: list[Row] = []
        # Of all looks before this one, and what this one asks for.
        self._images_seen = 0
        self._asked: Ask | None = None

    def run(self) -> Race:
        """Measure what the race asks for, until it is over or the time is spent."""
        self._say(f"looking for {self._goal.in_words()}")
        while (ask := self._race.ask()) is not None:
            said = len(self._race.decisions)
            if not self._answer(ask):
                self._race.stop(f"the budget of {self._request.search.budget:g} s is spent")
            for item in self._race.decisions[said:]:
                about = "" if item.name is None else f"{item.name}: "
                self._say(f"{item.what}: {about}{item.why} ({item.images} images so far)")
        self._say(f"stopped: {self._race.stopped}")
        return self._race

    def _answer(self, ask: Ask) -> bool:
        """Measure what is asked for and tell the race; False where there is no time for it."""
        self._asked = ask
        wanted = [self._configurations[name] for name in ask.names]
        if ask.what == "speed":
            # controls as well: they are what candidates are held against
            rows = self._measure(self._timed, 0, self._first, self._plan.configurations[1:])
            if rows is None:
                return False
            told = {name: _known(rows[name].value_of("speedup"), rows[name]) for name in ask.names}
            self._race.tell_speed(told, self._cost(rows.values()))
            return True
        run = self._timed if ask.first == 0 else self._scored
        rows = self._measure(run, ask.first, ask.count, wanted)
        if rows is None:
            return False
        pairs = {name: _pair(rows[name]) for name in ask.names}
        self._race.tell_scores(pairs, self._cost(rows.values()))
        return True

    def _measure(
        self, run: TaskRun, first: int, count: int, wanted: Sequence[Configuration]
    ) -> Mapping[str, Row] | None:
        """Return a row of each by its label, the baseline's too; None where the time is spent."""
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
        budget = own.search.budget
        # by the rows, so that an attempt that goes on behind another's counts its seconds too
        spent = gpu_seconds([row for parts in self._looks.values() for row in parts]) or 0.0
        is_spent = budget is not None and spent >= budget
        if is_spent and not run.is_measured(study, configurations):
            return None
        measured = run.measure(study, configurations)
        rows = {item.label: row for item, row in zip(configurations, measured, strict=True)}
        for label, row in rows.items():
            if row not in self._looks[label]:
                self._looks[label].append(row)
        self._images_seen += count * len(configurations)
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
            is_unknown = self._race.found().chosen is None
            ahead += self._again.count * (len(self._to_confirm()) + is_unknown)
        left = f"{self._race.left} candidates left" if self._race.left != 1 else "1 candidate left"
        return f"{seen} of {ahead} images if no more are dropped, {left}"

    def _cost(self, rows: Iterable[Row]) -> int:
        """Return how many images rows cost that were not counted before."""
        new = {f"{row.digest} {row.key}": row for row in rows}
        images = sum(row.images_generated for key, row in new.items() if key not in self._seen)
        self._seen |= new
        return images

    def pooled_rows(self) -> list[Row]:
        """Return, and append, one row for each configuration: all looks at it together."""
        for label, parts in self._looks.items():
            if not parts:
                continue
            measured = pooled(parts, label, self._loss(label))
            seen = sum(len(row.samples.clip_score) for row in parts)
            study = Study("", max(1, seen), self._request.batch_size, seed=self._request.seed)
            self._pooled.append(self._timed.add_pooled(measured, study, parts[0]))
        return self._pooled

    def _loss(self, label: str) -> Estimate | None:
        """Return a candidate's loss as the race knows it."""
        is_in_race = self._configurations[label].role == "candidate"
        return self._race.loss_of(label) if is_in_race else None

    def confirm(self) -> list[Row]:
        """Measure what was found again on prompts that the search did not see, and what judges it."""
        if self._race.found().chosen is None:
            return []
        return self._careful.measure(self._again, self._to_confirm())

    def _to_confirm(self) -> list[Configuration]:
        """Return what is to be confirmed as things stand, and the controls that judge it."""
        found = self._race.found()
        labels = {found.sure or found.chosen, found.chosen}
        if self._goal.wants == "frontier" and self._request.confirm:
            labels |= set(found.frontier)
        if self._goal.wants == "target":
            labels = {found.sure or found.chosen}
        return [
            item
            for item in self._plan.configurations
            if item.label in labels or item.role == "baseline" or item.steps or item.seeds
        ]

    def summary(self, rows: Sequence[Row], confirmed: Sequence[Row]) -> Summary:
        """Return what the search found, and what it cost."""
        max_loss = self._goal.max_loss
        again = summarise(confirmed, max_loss) if confirmed else None
        found = self._race.found()
        chosen = self._chosen
        everything = [*rows, *confirmed]
        return replace(
            summarise(rows, max_loss),
            images_generated=sum(row.images_generated for row in everything),
            gpu_seconds=gpu_seconds(everything),
            configurations=Counts(
                planned=len(self._plan.configurations),
                measured=len(rows),
                dropped=len(self._race.dropped),
            ),
            frontier=found.frontier,
            # what needs careful timing is answered by the confirmation
            null_arm=None if again is None else again.null_arm,
            told_apart={},
            beats_fewer_steps={},
            beside_load=[],
            best=_best(chosen, rows, confirmed, again),
            confirmation=again,
            search=self._in_json(chosen, confirmed),
        )

    def in_words(self, confirmed: Sequence[Row]) -> list[str]:
        """Return what was chosen, by the search and by its confirmation, and what would come next."""
        told = self._in_json(self._chosen, confirmed)
        lines = [f"would measure next: {told['next']}"] if told["next"] else []
        if "chosen" in told:
            chosen = told["chosen"]
            lines.append(
                f"{chosen['label']}: {chosen['searched']}; confirmed: {chosen['confirmed']}"
            )
        return lines

    @property
    def _chosen(self) -> str | None:
        found = self._race.found()
        return found.sure or found.chosen

    def _in_json(self, chosen: str | None, confirmed: Sequence[Row]) -> dict[str, Any]:
        """Return what stands under ``search`` in the summary."""
        following = self._race.would_ask()
        plain: dict[str, Any] = {
            "strategy": "adaptive",
            "wanted": self._goal.in_words(),
            "stopped": self._race.stopped,
            "next": None if following is None else following.in_words(),
            "prompts": self._request.num_samples,
            "accelerators": {},
        }
        if chosen is not None:
            again = _find(confirmed, self._configurations[chosen])
            plain["accelerators"] = self._configurations[chosen].as_json()["accelerators"]
            plain["chosen"] = {
                "label": chosen,
                "searched": _figures_in_words(_find(self._pooled, self._configurations[chosen])),
                "confirmed": _figures_in_words(again),
            }
        return plain


def _known(speedup: float | None, row: Row) -> float | None:
    return speedup if row.status == MEASURED else None


def _pair(row: Row) -> tuple[Scores, Scores] | None:
    """Return the scores of the baseline and of a configuration; None where it failed."""
    figures = row.samples
    own = [value for value in figures.clip_score if value is not None]
    beside = [value for value in figures.baseline_clip_score if value is not None]
    if row.status != MEASURED or not own or len(own) != len(beside):
        return None
    return beside, own


def _find(rows: Sequence[Row], configuration: Configuration) -> Row | None:
    return next((row for row in rows if row.key == configuration.key), None)


def _figures_in_words(row: Row | None) -> str | None:
    """Return speed-up and loss, and on how many prompts they were measured."""
    gain, loss = (None, None) if row is None else map(row.estimate_of, ("speedup", "quality_loss"))
    if row is None or gain is None or loss is None:
        return None
    count = len(row.samples.clip_score)
    return f"{gain.value:.2f}×, loss {loss_in_words(loss)} on {count} prompts"


def _best(
    chosen: str | None,
    rows: Sequence[Measurement],
    confirmed: Sequence[Measurement],
    again: Summary | None,
) -> Best:
    """Return the chosen one, by its confirmation, which owes nothing to having been chosen."""
    row: Measurement | None = next((row for row in rows if row.label == chosen), None)
    row = next((other for other in confirmed if row and other.key == row.key), row)
    speedup, loss = (None, None) if row is None else map(row.value_of, ("speedup", "quality_loss"))
    if row is None or speedup is None or loss is None:
        return Best("baseline", 1.0, 0.0, within=True)
    answered = None if again is None else again.bound.get(row.label)
    told = None if again is None else again.told_apart.get(row.label)
    is_within = answered is not None and answered.answer == "within"
    is_faster = told is not None and told.speed == "faster"
    more = None if answered is None else answered.images
    return Best(str(chosen), speedup, loss, is_within and is_faster, more)
