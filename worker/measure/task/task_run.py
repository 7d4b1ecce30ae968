"""One attempt at a task: which rows hold, and how those that are missing are measured."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from worker.config.settings import Timing
from worker.errors import OutOfMemoryError
from worker.measure import rows
from worker.measure.context import EvaluationContext
from worker.measure.evaluation import evaluate
from worker.measure.kept import KeptRows
from worker.measure.memory import must_fit
from worker.measure.pictures import Pictures
from worker.measure.rounds.untimed import profile
from worker.measure.rounds.worthless import WorthlessImagesError
from worker.measure.samples import Samples
from worker.measure.session import Session
from worker.measure.settings import MeasurementSettings, TaskRequest, settings_of
from worker.metrics.device_time import why_not
from worker.models.families.registry import family_of
from worker.models.sources import local_source
from worker.models.suitability import denoiser_config
from worker.results import device_time, environment
from worker.results.file import ResultsFile
from worker.results.row import OUT_OF_MEMORY, Measurement, Row
from worker.search.configuration import BASELINE, Configuration
from worker.search.cost import blocks
from worker.search.plan import Plan, make_plan
from worker.search.studies import Study

Say = Callable[[str], None]

_ROUND = re.compile(r"round (\d+)")


@dataclass(frozen=True)
class Standing:
    """How far a study is."""

    done: int
    """Configurations that are measured."""
    configurations: int
    """Of the study, all together."""
    measuring: int = 0
    """Configurations that are measured together now."""
    images: int = 0
    """That each of these has so far."""
    wanted: int = 0
    """Images that each configuration is to have."""

    def in_words(self) -> str:
        """Return it as the screen of a sweep takes it apart (docs/protocol.md)."""
        return (
            f"{self.done} of {self.configurations} configurations, "
            f"{self.images} of {self.wanted} images"
        )


class TaskRun:
    """One attempt at a task: it knows which rows hold and adds those that are missing.

    Args:
        request: the task.
        results: rows of earlier attempts; each new one is appended as soon as it is measured.
        device: a torch device.
        session: where models come from.
        say: called with each line for the log.
    """

    def __init__(
        self, request: TaskRequest, results: ResultsFile, device: str, session: Session, say: Say
    ) -> None:
        self._request = request
        self._device = device
        self._session = session
        self._say = say
        with must_fit("CUDA itself"):
            self._environment = environment.describe(device)
        self._kept = KeptRows(results, self._environment, say)
        self._pictures = Pictures(results.path, say)
        self._standing = Standing(0, 0)
        self._in_words: Callable[[Standing], str] = Standing.in_words
        self._seconds_evaluating = 0.0
        self._seconds_in_pipeline = 0.0

    @property
    def overhead(self) -> float | None:
        """Share of the evaluation's time that was not spent in the pipeline; None if none was."""
        if not self._seconds_evaluating:
            return None
        return 1 - self._seconds_in_pipeline / self._seconds_evaluating

    def with_progress(self, in_words: Callable[[Standing], str]) -> TaskRun:
        """Return the same attempt, with rows in common, that says in other words how far it is."""
        other = copy.copy(self)
        other._in_words = in_words
        return other

    def with_timing(self, timing: Timing) -> TaskRun:
        """Return the same attempt, with rows in common, that times differently."""
        other = copy.copy(self)
        search = self._request.search.model_copy(update={"timing": timing})
        other._request = replace(self._request, search=search)
        return other

    def is_measured(self, study: Study, wanted: Sequence[Configuration]) -> bool:
        """Say whether every configuration has its row."""
        _, written = self._settings(study)
        digest = str(written["digest"])
        return not self._kept.missing(wanted, digest, self._request.search.timing)

    def measured(self, study: Study, wanted: Sequence[Configuration]) -> list[Row]:
        """Return the rows of those that have one."""
        _, written = self._settings(study)
        digest = str(written["digest"])
        return self._kept.rows([item for item in wanted if self._kept.holds(item, digest)], digest)

    def add_pooled(self, measurement: Measurement, study: Study, part: Row) -> Row:
        """Append what several studies say together of a configuration, unless it is there.

        Args:
            measurement: that.
            study: as if it had been measured in one.
            part: the row of the first of those studies.
        """
        _, written = self._settings(study)
        row = Row.of(
            measurement.with_pictures(part.pictures),
            absent=part.absent,
            # of the first look alone it would else be that look's
            settings=dict(part.settings) | written | {"digest": f"{written['digest']} pooled"},
            environment=self._environment,
            reproduce=self._request.reproduction(),
            study=None,
        )
        if not self._kept.holds_key(row.key, row.digest):
            self._kept.add(row)
        return row

    def plan(self, own: Study) -> Plan:
        """Return the task's plan; what no file here tells of the model, the loaded pipeline does.

        Raises:
            WorkerError: models or captions cannot be had.
            OutOfMemoryError: models do not fit on the device.
        """
        task, search = self._request.task, self._request.search
        family, source = (
            family_of(task.pipe.architecture),
            local_source(search.source_of(task.pipe)),
        )
        known = {} if search.weights == "random" else denoiser_config(family, source)
        plan = make_plan(task, search, known)
        settings, written = self._settings(own)
        missing = self._kept.missing(plan.configurations, str(written["digest"]), search.timing)
        if known is not None or not missing:
            return plan
        pipeline = self._session.context(settings, own).pipeline
        return make_plan(task, search, pipeline.denoiser_config)

    def measure(
        self,
        study: Study,
        wanted: Sequence[Configuration],
        is_over: Callable[[], bool] = lambda: False,
    ) -> list[Row]:
        """Return a row for each configuration, measuring those that have none yet.

        Args:
            study: on what.
            wanted: the configurations.
            is_over: asked before each block; where it says so, only those that have one by then
                get their row.

        Raises:
            WorkerError: models or captions cannot be had, or the row not be written.
            OutOfMemoryError: models do not fit on the device, or not the baseline of the task
                itself. That of another study may not fit: this is then its result.
        """
        settings, written = self._settings(study)
        digest = str(written["digest"])
        missing = self._kept.missing(wanted, digest, self._request.search.timing)
        done = len(wanted) - len(missing)
        self._say(
            f"{study.name or 'task'}: {len(wanted)} configurations, {done} of them measured before"
        )
        if imprecise := sum(self._kept.holds(item, digest) for item in missing):
            self._say(f"{imprecise} are measured again, since more precision is asked for")
        if missing:
            context = self._session.context(settings, study)
            # the first prompts, for all alike: further studies have others, or other seeds
            if study.is_first and context.quality is not None:
                context = replace(context, pictures=self._request.search.keep_images)
            written = written | {
                "guided": context.guided,
                "scheduler_config": context.scheduler_config,
                "scheduler_not_taken": dict(context.scheduler_not_taken),
            }
            if settings.timing.stopping:
                written["stopping"] = settings.timing.stopping
            others = [item for item in missing if item.role != "baseline"]
            for block in blocks(others, self._request.search.timing):
                if is_over():
                    break
                ahead = self._kept.missing(wanted, digest, self._request.search.timing)
                # the baseline gets its row with the first block
                measuring = len(block) + any(item.role == "baseline" for item in ahead)
                done = len(wanted) - len(ahead)
                self._standing = Standing(done, len(wanted), measuring)
                for measurement in self._evaluate(context, [BASELINE, *block], study, digest):
                    self._add(
                        Row.of(
                            measurement,
                            absent=rows.absent(settings) | self._without_device_time(study),
                            settings=written,
                            environment=self._environment,
                            reproduce=self._request.reproduction(),
                            study=study.name or None,
                        )
                    )
        return self.measured(study, wanted)

    def profile(self, own: Study, wanted: Sequence[Configuration]) -> list[Row]:
        """Return the rows of the task itself, with the device's time in those that await it.

        It comes last: nothing is to be timed in a process that has profiled. Rows of an attempt
        that was interrupted before get theirs as well, and so do those of one that was not asked
        for it.

        Raises:
            WorkerError: models or captions cannot be had, or the row not be written.
            OutOfMemoryError: models do not fit on the device.
        """
        settings, written = self._settings(own)
        digest = str(written["digest"])
        is_asked = self._request.search.timing.device_time and why_not(self._device) is None
        awaited = {
            row.key: row
            for row in self._kept.rows(wanted, digest)
            if is_asked and device_time.is_awaited(row)
        }
        if awaited:
            self._say(f"profiling {len(awaited)} configurations")
            others = [item for item in wanted if item.key in awaited and item.role != "baseline"]
            context = self._session.context(settings, own)
            start = time.monotonic()
            profiled = profile(context, [BASELINE, *others])
            seconds = (time.monotonic() - start) / len(awaited)
            for item in profiled:
                row = awaited.get(item.samples.configuration.key)
                if row is not None:
                    row = rows.with_cost(row, item.samples.made, seconds)
                    row = device_time.added_to(row, item.seconds, profiled[0].seconds, item.unknown)
                    self._kept.add(row)
                    self._say(device_time.in_words(row))
        return self._kept.rows(wanted, digest)

    def _settings(self, study: Study) -> tuple[MeasurementSettings, dict[str, object]]:
        """Return what a study is measured with, and the same as its rows hold it, with its digest."""
        settings = settings_of(self._request, study, self._device)
        return settings, settings.as_json(self._session.prompts(settings.captions, study))

    def _without_device_time(self, study: Study) -> dict[str, str]:
        """Return why a row has no device time when it is first written."""
        if not study.is_first:
            why = "measured for the task itself alone"
        elif self._request.search.timing.is_off:
            why = rows.NOT_TIMED
        elif not self._request.search.timing.device_time:
            why = device_time.TURNED_OFF
        else:
            why = why_not(self._device) or device_time.AWAITED
        return dict.fromkeys(device_time.FIGURES, why)

    def _evaluate(
        self, context: EvaluationContext, block: list[Configuration], study: Study, digest: str
    ) -> list[Measurement]:
        """Measure a block; its baseline is among what is returned only where it has no row yet."""
        self._say(f"measuring {', '.join(item.label for item in block)}")
        start = time.monotonic()
        try:
            measured = evaluate(context, block, lambda done: self._say_round(done, context))
        except (OutOfMemoryError, WorthlessImagesError) as error:
            if not study.name or study.is_part:
                raise
            # the task itself is measured; that this study cannot be is its result
            failure = OUT_OF_MEMORY if isinstance(error, OutOfMemoryError) else error.status
            measured = [Samples(item, failure=failure) for item in block]
        seconds = time.monotonic() - start
        self._seconds_evaluating += seconds
        self._seconds_in_pipeline += sum(samples.spent for samples in measured)
        settings = context.settings
        first = int(self._kept.holds(BASELINE, digest))
        made = [
            rows.make_measurement(
                samples, measured[0], settings.batch_size, settings.timing.precision
            ).with_pictures(self._pictures.keep(samples, context, digest))
            for samples in measured[first:]
        ]
        images = [samples.made for samples in (*measured[first:], *measured[:first])]
        return rows.with_costs(made, images, seconds)

    def _say_round(self, done: str, context: EvaluationContext) -> None:
        """Say what a round brought, and how far the task is, for who looks at many (docs/protocol.md)."""
        self._say(f"  {done}")
        if (found := _ROUND.match(done)) is not None:
            wanted = len(context.prompts)
            made = min(wanted, int(found[1]) * context.settings.batch_size)
            standing = replace(self._standing, images=made, wanted=wanted)
            self._say(f"progress: {self._in_words(standing)}")

    def _add(self, row: Row) -> None:
        """Append a row."""
        if row.study is not None:
            row = row.model_copy(update={"label": f"{row.label} ({row.study})"})
        self._kept.add(row)
        self._say(rows.in_words(row, self._request.search.timing.precision))
