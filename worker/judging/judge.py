"""One program judged: built apart, compared with its text and a reference, measured if asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from worker.config.target import Target
from worker.errors import WorkerError
from worker.judging import build, field_diff, object_diff
from worker.judging.fields import Findings
from worker.judging.measure_program import (
    Measured,
    MeasureOptions,
    Program,
    UnsuitableError,
    measure,
    program_of,
)
from worker.judging.reasons.codes import Reason, Why
from worker.judging.reasons.texts import text as text_of
from worker.judging.sandbox.sandbox import Limits, unprotected
from worker.judging.static.extract import SourceFile
from worker.results import statistics


class BuildError(WorkerError):
    """A file cannot be built here, and that is no verdict about the program judged.

    Attributes:
        path: the file.
        reason: why, without the path.
    """

    def __init__(self, path: str, reason: Reason, exit_code: int) -> None:
        super().__init__(f"{path} {text_of(reason)}")
        self.path = path
        self.reason = reason
        self.exit_code = exit_code


@dataclass(frozen=True)
class JudgeOptions:
    """How a program is built, and whether and how it is measured."""

    models: Mapping[str, str]
    """Model ids to folders, or to sources of the catalogue."""
    limits: Limits
    warn: Callable[[str], None]
    """Told, a sentence each, from what this system could not keep the program."""
    hidden: Sequence[str] = ()
    """Paths that the program does not see."""
    measure: MeasureOptions | None = None
    """None: it is not measured."""
    target: Target = field(default_factory=Target)
    say: Callable[[str], None] = lambda _line: None
    """Told how measuring goes on, a line each."""


@dataclass(frozen=True)
class Verdict:
    """Whether a target is met: each demand with its answer, and how much of it was achieved."""

    answers: Mapping[str, statistics.Answer]
    achievement: float

    @property
    def passed(self) -> bool | None:
        """True if every demand is met, False if one is not, None if that cannot be told yet."""
        answers = set(self.answers.values())
        if "not within" in answers:
            return False
        return None if "cannot tell yet" in answers else True


@dataclass(frozen=True)
class MeasuredProgram:
    """A program that was measured, and what follows for its target."""

    program: Program
    measured: Measured
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Return everything that was found, as plain data."""
        program, measured = self.program, self.measured
        task, loss = program.task, measured.loss
        return {
            "configuration": {
                "model_id": task.pipe.name,
                "scheduler": task.sched.class_name,
                "steps": task.steps,
                "guidance": program.guidance,
                "image_size": task.pipe.image_size,
                "batch": program.batch,
                "dtype": program.dtype,
                "compiled": program.compiled,
            },
            "accelerators": program.configuration.as_json()["accelerators"],
            "label": program.configuration.label,
            "remarks": list(program.remarks),
            "baseline": measured.baseline.as_json(),
            "candidate": measured.candidate.as_json(),
            "speedup": asdict(measured.speedup),
            "relative_loss": None if loss is None else asdict(loss),
            "loss_unknown": measured.loss_unknown,
            "latency": measured.latency,
            "answers": dict(self.verdict.answers),
            "passed": self.verdict.passed,
            "achievement": self.verdict.achievement,
        }


@dataclass(frozen=True)
class Outcome:
    """What judging a program showed.

    Attributes:
        found: what it built.
        backing: how far its text bears that out.
        expected: what the reference built; None without one.
        items: the objects of both, path by path.
        measurement: None where it was not asked for, not reached, or not possible.
        unsuitable: why it could not be measured.
    """

    found: build.Built
    backing: build.Backing
    expected: build.Built | None = None
    items: Sequence[object_diff.Item] = ()
    measurement: MeasuredProgram | None = None
    unsuitable: str | None = None

    @property
    def problem(self) -> Reason | None:
        """Why it does not run through, or is not what is written; None if neither."""
        return self.found.problem or self.backing.problem

    @property
    def differences(self) -> list[object_diff.Item]:
        """The paths at which the objects differ from the reference's."""
        return [item for item in self.items if item.kind != "match"]

    @property
    def mismatches(self) -> list[str]:
        """The fields, then the paths, that are not what the reference has."""
        fields = (item.field for item in self.wrong_fields)
        return [*fields, *(item.path for item in self.differences)]

    @property
    def wrong_fields(self) -> list[field_diff.FieldMatch]:
        """The fields that are certainly not what the reference has."""
        if self.expected is None:
            return []
        return wrong_fields(self.expected.findings, self.found.findings)

    @property
    def passed(self) -> bool | None:
        """Whether it does what is asked; None: cannot be told, or not surely."""
        if self.problem is not None or self.mismatches:
            return False
        if self.unsuitable is not None:
            return None
        passed = True if self.measurement is None else self.measurement.verdict.passed
        return None if passed and not self.backing.suffices else passed


def judge_program(
    program: SourceFile, reference: SourceFile | None, options: JudgeOptions
) -> Outcome:
    """Judge a program: build it, compare it with its text and a reference, measure it.

    Each step is taken only for what passed those before.

    Raises:
        BuildError: a model is missing, or the reference does not build.
        WorkerError: what measuring needs cannot be had, or the baseline does not fit.
    """
    expected = None if reference is None else _build_reference(reference, options)
    _fetch(program, options)
    found = build.build(program.data, options.models, options.limits, options.hidden)
    for sentence in unprotected(found.confined):
        options.warn(sentence)
    outcome = Outcome(
        found,
        build.backing(program.data, program.findings, found.findings),
        expected,
        _compare_objects(expected, found),
    )
    if options.measure is None or outcome.problem is not None or outcome.mismatches:
        return outcome
    try:
        measurement = _measure(found, options.measure, options)
    except UnsuitableError as error:
        return replace(outcome, unsuitable=str(error))
    return replace(outcome, measurement=measurement)


def wrong_fields(expected: Findings, found: Findings) -> list[field_diff.FieldMatch]:
    """Return the fields that certainly differ."""
    return [item for item in field_diff.compare(expected, found) if item.match is False]


def _build_reference(reference: SourceFile, options: JudgeOptions) -> build.Built:
    _fetch(reference, options)
    built = build.build(reference.data, options.models, options.limits)
    if built.problem is not None:
        reason = Why.REFERENCE_NOT_BUILT(built.problem)
        raise BuildError(reference.path, reason, exit_code=2)
    return built


def _fetch(file: SourceFile, options: JudgeOptions) -> None:
    try:
        build.fetch(file.findings, options.models)
    except WorkerError as error:
        reason = Why.MODEL_NOT_FETCHED(error=str(error))
        raise BuildError(file.path, reason, error.exit_code) from error


def _compare_objects(expected: build.Built | None, found: build.Built) -> list[object_diff.Item]:
    if expected is None or expected.description is None or found.description is None:
        return []
    return object_diff.compare(expected.description, found.description)


def _measure(
    built: build.Built, measure_options: MeasureOptions, options: JudgeOptions
) -> MeasuredProgram:
    from worker.metrics.device import choose_device

    program = program_of(built, options.models)
    measured = measure(program, measure_options, choose_device(), options.say)
    return MeasuredProgram(program, measured, verdict(measured, options.target))


def verdict(measured: Measured, target: Target) -> Verdict:
    """Compare what was measured with a target.

    A bound is met when the interval's worse end meets it. The achievement is the smallest
    min(1, achieved / required) of what is asked.
    """
    answers: dict[str, statistics.Answer] = {}
    achieved = [1.0]
    if target.speedup is not None:
        answers["speedup"] = _at_least(measured, target.speedup)
        achieved.append(measured.speedup.value / target.speedup)
    if target.latency is not None:
        answers["latency"] = "within" if measured.latency <= target.latency else "not within"
        achieved.append(target.latency / measured.latency)
    if target.max_loss is not None:
        answers["loss"] = "cannot tell yet"
        if not measured.is_accelerated and measured.loss_unknown is None:
            answers["loss"] = "within"
        elif measured.loss is not None:
            answers["loss"] = statistics.answer(measured.loss, target.max_loss)
            if measured.loss.value > target.max_loss:
                achieved.append(target.max_loss / measured.loss.value)
    return Verdict(answers, max(0.0, min(achieved)))


def _at_least(measured: Measured, bound: float) -> statistics.Answer:
    if not measured.is_accelerated:
        return "within" if bound <= 1 else "not within"
    low, high = measured.speedup.low, measured.speedup.high
    if low is None or high is None:  # too few pairs for an interval
        return "cannot tell yet"
    if low >= bound:
        return "within"
    return "not within" if high < bound else "cannot tell yet"
