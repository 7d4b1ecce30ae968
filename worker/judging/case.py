"""One case: a reference, a generated file, perhaps a target; judged in three stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.config.target import Target, read_target
from worker.errors import ConfigurationError
from worker.judging import source
from worker.judging.field_diff import FieldMatch
from worker.judging.judge import JudgeOptions, judge_program, wrong_fields
from worker.judging.object_diff import Item
from worker.judging.reasons.codes import Reason
from worker.judging.reasons.texts import text
from worker.judging.report import TEXTS, cell, printable
from worker.judging.static.extract import SourceFile, extract

Answer = dict[str, Any]
"""``stage`` (text, objects, measured), ``passed``, ``achievement``, ``problem``, ``caveat`` (what is
known by the file's own word alone), ``mismatches``, ``wrong`` (of each of them, as far as there is room,
``field``, ``expected`` and ``found``, as texts), ``files`` (the text of both, cut; what cannot be read is
absent), and ``measured`` (``MeasuredProgram.as_json``) where that stage was reached."""
_MOST_WRONG = 100
_MOST_LETTERS = 20_000  # of a file


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
    files = {name: _text_of(case.folder / name) for name in ("gt.py", "gen.py")}
    told = {name: content for name, content in files.items() if content is not None}
    return _judged(case, options) | {"files": told}


def _text_of(path: Path) -> str | None:
    """Return a file's text, cut, or None where it cannot be read."""
    try:
        content = source.read_source(str(path)).decode("utf-8", "replace")
    except source.SourceError:
        return None
    more = len(content) - _MOST_LETTERS
    return content if more <= 0 else f"{content[:_MOST_LETTERS]}\n… and {more:,} letters more"


def _judged(case: Case, options: JudgeOptions) -> Answer:
    if isinstance(case.generated, str):
        return _answer("text", passed=False, problem=case.generated)
    wrong = wrong_fields(case.reference.findings, case.generated.findings)
    if wrong:
        return _answer("text", passed=False, wrong=[_field(item) for item in wrong])
    options = replace(options, hidden=[str(case.folder)], target=case.target or Target())
    if case.target is None:
        options = replace(options, measure=None)
    outcome = judge_program(case.generated, case.reference, options)
    if outcome.problem is not None:
        return _answer("objects", passed=False, problem=outcome.problem)
    if outcome.mismatches:
        fields = [_field(item) for item in outcome.wrong_fields]
        items = [_item(item) for item in outcome.differences[:_MOST_WRONG]]
        return _answer("objects", passed=False, wrong=[*fields, *items][:_MOST_WRONG])
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
    wrong: Sequence[dict[str, str]] = (),
) -> Answer:
    return {
        "stage": stage,
        "passed": passed,
        "achievement": 1.0 if passed else 0.0,
        "problem": text(problem) if isinstance(problem, Reason) else problem,
        "caveat": None,
        "mismatches": [one["field"] for one in wrong],
        "wrong": wrong,
    }


def _field(item: FieldMatch) -> dict[str, str]:
    expected, found = (cell(value, TEXTS["en"]) for value in (item.expected, item.found))
    return {"field": item.field, "expected": expected, "found": found}


def _item(item: Item) -> dict[str, str]:
    expected, found = (printable(str(value)) for value in (item.expected, item.found))
    return {"field": item.path, "expected": expected, "found": found}
