"""One case: a reference, a generated file, perhaps a target; judged in three stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import ConfigurationError
from worker.judging import build as runtime
from worker.judging import field_diff as match
from worker.judging import measure as judge
from worker.judging import object_diff as objects
from worker.judging import source
from worker.judging.fields import Findings
from worker.judging.reasons.codes import Reason, Why
from worker.judging.reasons.texts import text
from worker.judging.sandbox import sandbox
from worker.judging.static.extract import extract

Answer = dict[str, Any]
"""``stage`` (text, objects, measured), ``passed``, ``achievement``, ``problem``, ``caveat`` (what is
known by the file's own word alone), ``mismatches``, and ``measured`` (see ``judge.as_json``) where
that stage was reached."""


@dataclass(frozen=True)
class Case:
    """A case as it lies on disk, read."""

    folder: Path
    reference: bytes
    generated: bytes | str
    """The generated file, or, where it cannot be read, why not."""
    asked: Findings
    target: judge.Target | None

    @classmethod
    def read(cls, folder: Path) -> Case:
        """Read a case's folder.

        Raises:
            ConfigurationError: it is no folder, or its reference or target is missing or not valid.
        """
        if not folder.is_dir():
            raise ConfigurationError(f"{folder} is no folder; a case is one, with gt.py and gen.py")
        try:
            reference = source.read_source(str(folder / "gt.py"))
            asked = extract(reference)
        except source.SourceError as error:
            raise ConfigurationError(f"{folder / 'gt.py'} {error}") from error
        generated: bytes | str
        try:
            generated = source.read_source(str(folder / "gen.py"))
        except source.SourceError as error:
            generated = f"gen.py {error}"
        target = folder / "target.yaml"
        wanted = judge.read_target(target) if target.exists() else None
        return cls(folder, reference, generated, asked, wanted)


def judge_case(
    case: Case, models: Mapping[str, str], limits: sandbox.Limits, options: judge.MeasureOptions
) -> Answer:
    """Judge a case: its text, then its objects, then, if there is a target, its speed and quality.

    Raises:
        WorkerError: the reference cannot be built, or nothing can be measured here.
    """
    if isinstance(case.generated, str):
        return _answer("text", passed=False, problem=case.generated)
    try:
        read = extract(case.generated)
    except source.SourceError as error:
        return _answer("text", passed=False, problem=str(error))
    wrong = _mismatches(case.asked, read)
    if wrong:
        return _answer("text", passed=False, mismatches=wrong)
    expected, found = _build_both(case, case.generated, read, models, limits)
    if found.description is None or found.problem is not None:
        return _answer("objects", passed=False, problem=found.problem)
    backing = runtime.backing(case.generated, read, found.findings)
    if backing.problem is not None:
        return _answer("objects", passed=False, problem=backing.problem)
    wrong = [
        *_mismatches(expected.findings, found.findings),
        *(
            item.path
            for item in objects.compare(expected.description or {}, found.description)
            if item.kind != "match"
        ),
    ]
    if wrong:
        return _answer("objects", passed=False, mismatches=wrong[:100])
    if case.target is None:
        answer = _answer("objects", passed=True)
    else:
        answer = _measure(found, models, options, case.target)
    if answer["passed"] and not backing.suffices:
        answer["passed"] = None
    return answer | {"caveat": None if backing.caveat is None else text(backing.caveat)}


def _mismatches(expected: Findings, found: Findings) -> list[str]:
    return [item.field for item in match.compare(expected, found) if item.match is False]


def _build_both(
    case: Case,
    generated: bytes,
    read: Findings,
    models: Mapping[str, str],
    limits: sandbox.Limits,
) -> tuple[runtime.Built, runtime.Built]:
    runtime.fetch(case.asked, models)
    expected = runtime.build(case.reference, models, limits)
    if expected.description is None or expected.problem is not None:
        reason = Why.REFERENCE_NOT_BUILT(expected.problem or Why.BUILDS_NO_PIPELINE())
        raise ConfigurationError(f"{case.folder / 'gt.py'} {text(reason)}")
    runtime.fetch(read, models)
    found = runtime.build(generated, models, limits, hidden=[case.folder])
    for line in sandbox.unprotected(found.confined):
        print(line)
    return expected, found


def _measure(
    found: runtime.Built,
    models: Mapping[str, str],
    options: judge.MeasureOptions,
    target: judge.Target,
) -> Answer:
    import torch

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        program = judge.program_of(found, models)
        measured = judge.measure(program, options, device, lambda _line: None)
    except judge.UnsuitableError as error:
        return _answer("measured", passed=None, problem=f"not measured: {error}")
    verdict = judge.verdict(measured, target)
    answer = _answer("measured", passed=verdict.passed)
    return answer | {
        "achievement": verdict.achievement,
        "measured": judge.as_json(program, measured, verdict),
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
