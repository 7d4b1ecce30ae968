"""Cases that a worker judged, as plain values: rows that have a ``verdict`` (docs/results-schema.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scheduler.storage.json_files import as_number

_MOST_LETTERS = 1_000_000  # of all files on the page
_MOST_WRONG = 100  # of a case
_LONGEST = 2_000  # letters of a value


@dataclass(frozen=True)
class Wrong:
    """A field that is not what is asked for."""

    field: str
    expected: str
    found: str


@dataclass(frozen=True)
class Case:
    """One case as it was judged."""

    name: str
    level: str
    stage: str
    # None: it cannot be decided.
    passed: bool | None
    achievement: float | None
    problem: str
    caveat: str
    wrong: Sequence[Wrong]
    # The names of both files and their texts; empty where it passed.
    files: Sequence[tuple[str, str]]

    @property
    def outcome(self) -> str:
        """Return whether it passed, in words."""
        return {True: "passed", False: "not passed", None: "cannot be decided"}[self.passed]


@dataclass(frozen=True)
class Level:
    """How the cases of one level came out."""

    name: str
    passed: int
    failed: int
    undecided: int
    # The mean of the cases'; None: none has one.
    achievement: float | None

    @property
    def cases(self) -> int:
        """Return how many there are."""
        return self.passed + self.failed + self.undecided

    @property
    def rate(self) -> float:
        """Return the share of the cases that passed."""
        return self.passed / self.cases


@dataclass(frozen=True)
class Judged:
    """All cases: those that did not pass first, level by level."""

    levels: Sequence[Level]
    cases: Sequence[Case]

    @classmethod
    def of(cls, cases: Sequence[Case]) -> Judged:
        """Put cases in order, with files as far as the page has room for them."""
        ordered = sorted(cases, key=lambda case: (case.passed is True, case.level, case.name))
        return cls(_levels(cases), _within_bounds(ordered))


def case_of(name: str, label: str, row: Mapping[str, Any]) -> Case | None:
    """Return the case that a row tells of, or None where it tells of none.

    Args:
        name: what the page calls it.
        label: the row's; the level stands before its first hyphen where the verdict does not tell it.
        row: as the worker wrote it.
    """
    verdict = row.get("verdict")
    if not isinstance(verdict, dict):
        return None
    passed = verdict.get("passed")
    return Case(
        name,
        _text(verdict.get("level") or label.partition("-")[0]),
        _text(verdict.get("stage")),
        passed if isinstance(passed, bool) else None,
        _achievement(row.get("metrics")),
        _text(verdict.get("problem")),
        _text(verdict.get("caveat")),
        _wrong(verdict),
        () if passed is True else _files(verdict.get("files")),
    )


def _achievement(metrics: object) -> float | None:
    for metric in metrics if isinstance(metrics, list) else ():
        if isinstance(metric, dict) and metric.get("name") == "achievement":
            return as_number(metric.get("value"))
    return None


def _wrong(verdict: Mapping[str, Any]) -> list[Wrong]:
    """Return the fields that differ; rows of earlier versions have their names alone."""
    told = verdict.get("wrong")
    if not isinstance(told, list):
        names = verdict.get("mismatches")
        told = [{"field": name} for name in names] if isinstance(names, list) else []
    return [
        Wrong(_text(one.get("field")), _text(one.get("expected")), _text(one.get("found")))
        for one in told[:_MOST_WRONG]
        if isinstance(one, dict)
    ]


def _files(files: object) -> list[tuple[str, str]]:
    if not isinstance(files, dict):
        return []
    return [(str(name), text) for name, text in files.items() if isinstance(text, str)][:2]


def _levels(cases: Sequence[Case]) -> list[Level]:
    found = []
    for name in sorted({case.level for case in cases}):
        own = [case for case in cases if case.level == name]
        achieved = [case.achievement for case in own if case.achievement is not None]
        found.append(
            Level(
                name,
                sum(case.passed is True for case in own),
                sum(case.passed is False for case in own),
                sum(case.passed is None for case in own),
                sum(achieved) / len(achieved) if achieved else None,
            )
        )
    return found


def _within_bounds(cases: Sequence[Case]) -> list[Case]:
    room, found = _MOST_LETTERS, []
    for case in cases:
        room -= sum(len(text) for _, text in case.files)
        found.append(case if room >= 0 else replace(case, files=()))
    return found


def _text(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
