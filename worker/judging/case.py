"""One case: a reference, a generated file, perhaps a target; judged in three stages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.config.target import Target, read_target
from worker.errors import ConfigurationError
from worker.judging import source
from worker.judging.judge import JudgeOptions, judge_program, mismatching_fields
from worker.judging.reasons.codes import Reason
from worker.judging.reasons.texts import text
from worker.judging.static.extract import SourceFile, extract

Answer = dict[str, Any]
"""``stage`` (text, objects, measured), ``passed``, ``achievement``, ``problem``, ``caveat`` (what is
known by the file's own word alone), ``mismatches``, and ``measured`` (``MeasuredProgram.as_json``)
where that stage was reached."""


@dataclass(frozen=True)
class Case:
    """A case as it lies on disk, read."""

    folder: Path
    reference: SourceFile
    generated: SourceFile | str
    """The generated file, or, where it cannot be read or does not parse, why not."""
    target: Target | None

    @classmethod
    def read(cls, folder: Path) -> Case:
        """Read a case's folder.

        Raises:
            ConfigurationError: it is no folder, or its reference or target is missing or not valid.
        """
        if not folder.is_dir():
            raise ConfigurationError(f"{folder} is no folder; a case is one, with gt.py and gen.py")
        try:
            reference = SourceFile.read(str(folder / "gt.py"))
        except source.SourceError as error:
            raise ConfigurationError(f"{folder / 'gt.py'} {error}") from error
        target = folder / "target.yaml"
        wanted = _read_target(target) if target.exists() else None
        return cls(folder, reference, _read_generated(folder), wanted)


def _read_generated(folder: Path) -> SourceFile | str:
    path = str(folder / "gen.py")
    try:
        data = source.read_source(path)
    except source.SourceError as error:
        return f"gen.py {error}"
    try:
        return SourceFile(path, data, extract(data))
    except source.SourceError as error:
        return str(error)


def _read_target(path: Path) -> Target:
    try:
        data = source.read_source(str(path))
    except source.SourceError as error:
        raise ConfigurationError(f"{path} {error}") from error
    return read_target(data, str(path))


def judge_case(case: Case, options: JudgeOptions) -> Answer:
    """Judge a case: its text, then its objects, then, if there is a target, its speed and quality.

    Args:
        case: the case.
        options: how to build and measure; the case says what is hidden and what is demanded.

    Raises:
        WorkerError: the reference cannot be built, or nothing can be measured here.
    """
    if isinstance(case.generated, str):
        return _answer("text", passed=False, problem=case.generated)
    wrong = mismatching_fields(case.reference.findings, case.generated.findings)
    if wrong:
        return _answer("text", passed=False, mismatches=wrong)
    options = replace(options, hidden=[str(case.folder)], target=case.target or Target())
    if case.target is None:
        options = replace(options, measure=None)
    outcome = judge_program(case.generated, case.reference, options)
    if outcome.problem is not None:
        return _answer("objects", passed=False, problem=outcome.problem)
    if outcome.mismatches:
        return _answer("objects", passed=False, mismatches=outcome.mismatches[:100])
    if outcome.unsuitable is not None:
        answer = _answer("measured", passed=None, problem=f"not measured: {outcome.unsuitable}")
    elif outcome.measurement is not None:
        verdict = outcome.measurement.verdict
        answer = _answer("measured", passed=verdict.passed) | {
            "achievement": verdict.achievement,
            "measured": outcome.measurement.as_json(),
        }
    else:
        answer = _answer("objects", passed=True)
    caveat = outcome.backing.caveat
    return answer | {
        "passed": outcome.passed,
        "caveat": None if caveat is None else text(caveat),
    }


def _answer(
    stage: str,
    *,
    passed: bool | None,
    problem: Reason | str | None = None,
    mismatches: list[str] | None = None,
) -> Answer:
    return {
        "stage": stage,
        "passed": passed,
        "achievement": 1.0 if passed else 0.0,
        "problem": text(problem) if isinstance(problem, Reason) else problem,
        "caveat": None,
        "mismatches": mismatches or [],
    }
