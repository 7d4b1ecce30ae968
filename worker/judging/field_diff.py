"""Compare two files field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeGuard

from worker.judging.facts.models import EQUIVALENT_SCHEDULERS, EQUIVALENT_SPACINGS, canonical_id
from worker.judging.fields import FIELDS, NO_PIPELINE, Findings
from worker.judging.reasons.codes import Reason, Why
from worker.judging.static.extract import untouched
from worker.judging.static.joining import same
from worker.judging.static.libraries.schedulers import spacing
from worker.judging.static.objects import AbstractDict, AbstractList, Computed
from worker.judging.static.values import (
    MISSING,
    Lib,
    Unknown,
    Value,
)

# What each field weighs in a relaxed score, where no file says otherwise.
WEIGHTS: dict[str, float] = {
    **dict.fromkeys(FIELDS, 0.5),
    "pipeline": 2.0,
    "model_id": 2.0,
    "scheduler": 2.0,
    "scheduler_args": 1.0,
    "steps": 2.0,
    "accelerators": 4.0,
    "guidance": 1.0,
}


@dataclass(frozen=True)
class FieldMatch:
    """One field of two files. ``match`` and ``score`` are None where it cannot be known.

    ``default``: both files leave it as it is, so that it says nothing about either.
    """

    field: str
    expected: Value
    found: Value
    match: bool | None
    score: float | None
    why: Reason | None = None
    default: bool = False


@dataclass(frozen=True)
class Relaxed:
    """How far two values may differ: relative tolerance of numbers, weight of each field."""

    tolerance: float
    weights: Mapping[str, float]


def compare(
    expected: Findings, found: Findings, relaxed: Relaxed | None = None
) -> list[FieldMatch]:
    """Compare two files' findings; with ``relaxed``, near misses get part of the credit."""
    matches = [_field(name, expected, found, relaxed) for name in FIELDS]
    if relaxed is None:
        return matches
    bare = [untouched(side) for side in (expected, found)]
    return [
        _weighed(item, bare[0].fields[item.field], bare[1].fields[item.field]) for item in matches
    ]


def _weighed(item: FieldMatch, left: Value, right: Value) -> FieldMatch:
    """Note of a field if both files leave it at the default of the pipeline they load."""
    if item.field in ("pipeline", "model_id"):
        return item
    if equal(item.expected, left) is not True or equal(item.found, right) is not True:
        return item
    return replace(item, default=True, why=item.why or Why.DEFAULT_NOT_COUNTED())


@dataclass(frozen=True)
class Score:
    """How much of what the reference tells a file does.

    Attributes:
        value: the weighted mean score of the fields, from 0 to 1; None if none counts.
        fields: how many fields count.
        unknown: how many of them cannot be known of the file, and score nothing.
    """

    value: float | None
    fields: int
    unknown: int


def total_score(matches: list[FieldMatch], weights: Mapping[str, float]) -> Score:
    """Return the score over the fields that the reference tells and a file sets.

    What cannot be known of the other file scores nothing: hiding a value must not pay.
    """
    counted = [
        item
        for item in matches
        if not item.default and (item.score is not None or _is_known(item.expected))
    ]
    whole = sum(weights[item.field] for item in counted)
    earned = sum(weights[item.field] * (item.score or 0.0) for item in counted)
    unknown = sum(item.score is None for item in counted)
    return Score(earned / whole if whole > 0 else None, len(counted), unknown)


def _field(name: str, left: Findings, right: Findings, relaxed: Relaxed | None) -> FieldMatch:
    expected, found = left.fields[name], right.fields[name]
    verdict = equal(expected, found)
    why = _why_unknown(expected, found) if verdict is None else None
    if expected == NO_PIPELINE and found == NO_PIPELINE:
        verdict, why = None, Why.NO_PIPELINE_IN_EITHER()
    if relaxed is None or verdict is None or verdict:
        return FieldMatch(
            name, expected, found, verdict, None if verdict is None else float(verdict), why
        )
    if name == "scheduler":
        score, why = _credit_scheduler(left, right)
    else:
        score, why = _credit(name, expected, found, relaxed.tolerance)
    if score is None:
        return FieldMatch(name, expected, found, None, None, why)
    return FieldMatch(name, expected, found, score >= 1, score, why)


def equal(expected: Value, found: Value, depth: int = 0) -> bool | None:
    """Whether two values are the same; None if that cannot be known."""
    if isinstance(expected, Computed) and isinstance(found, Computed):
        return _equal_computed(expected, found, depth)
    if isinstance(expected, Unknown) or isinstance(found, Unknown):
        return True if same(expected, found) else None
    if isinstance(expected, AbstractDict) and isinstance(found, AbstractDict):
        return _equal_entries(expected, found, depth)
    left, right = _items(expected), _items(found)
    if left is not None and right is not None:
        if len(left) != len(right) or depth > 10:
            return False if depth <= 10 else None
        return _all([equal(a, b, depth + 1) for a, b in zip(left, right, strict=True)])
    if isinstance(expected, Lib) and isinstance(found, Lib):
        return expected.last == found.last
    plain = (str, int, float, complex, bytes, type(None), Lib)
    if isinstance(expected, (*plain, AbstractDict, AbstractList, tuple)) and isinstance(
        found, (*plain, AbstractDict, AbstractList, tuple)
    ):
        return bool(expected == found)
    return None


def _equal_computed(expected: Computed, found: Computed, depth: int) -> bool | None:
    """Whether two values computed are the same: other functions may still compute the same."""
    if same(expected, found):
        return True
    alike = expected.function == found.function
    if not alike or len(expected.arguments) != len(found.arguments) or depth > 10:
        return None
    pairs = zip(expected.arguments, found.arguments, strict=True)
    return _all([equal(*pair, depth + 1) for pair in pairs])


def _items(value: Value) -> tuple[Value, ...] | None:
    items = value.items if isinstance(value, AbstractList) else value
    return items if isinstance(items, tuple) else None


def _equal_entries(expected: AbstractDict, found: AbstractDict, depth: int) -> bool | None:
    if depth > 10:
        return None
    answers: list[bool | None] = []
    for key in expected.slots | found.slots:
        if key in expected.slots and key in found.slots:
            answers.append(equal(expected.slots[key], found.slots[key], depth + 1))
            continue
        present, absent = (expected, found) if key in expected.slots else (found, expected)
        value = present.slots[key]
        certain = isinstance(value, Computed) or not isinstance(value, Unknown)
        certain = certain and absent.open is MISSING
        answers.append(False if certain else None)
    return _all(answers)


def _all(answers: list[bool | None]) -> bool | None:
    if False in answers:
        return False
    return None if None in answers else True


def _is_known(value: Value) -> bool:
    """Whether nothing of a value is unknown."""
    return not isinstance(value, Unknown) and _why_unknown(value) is None


def _why_unknown(*values: Value) -> Reason | None:
    """Return the first reason found why something is not known."""
    for value in values:
        if isinstance(value, Unknown):
            # Why a file was not read is told of the file, not of each field.
            return None if value.why.code is Why.FILE_NOT_READ else value.why
        inner: tuple[Value, ...] = ()
        if isinstance(value, AbstractDict):
            inner = tuple(value.slots.values())
        elif isinstance(value, AbstractList):
            inner = _items(value) or ()
        for item in inner:
            why = _why_unknown(item)
            if why is not None:
                return why
    return None


def _credit(
    name: str, expected: Value, found: Value, tolerance: float
) -> tuple[float | None, Reason | None]:
    """Return the credit for two values that are not the same, and why."""
    if name == "model_id" and isinstance(expected, str) and isinstance(found, str):
        if canonical_id(expected).lower() == canonical_id(found).lower():
            return 1.0, Why.SAME_MODEL()
        return 0.0, Why.OTHER_MODEL()
    if isinstance(expected, AbstractDict) and isinstance(found, AbstractDict):
        return _credit_entries(expected, found, tolerance)
    return _credit_value(expected, found, tolerance)


def _credit_scheduler(left: Findings, right: Findings) -> tuple[float | None, Reason | None]:
    """Return the credit for two noise schedulers of different classes, and why."""
    names = {left.fields["scheduler"], right.fields["scheduler"]}
    if not any(names <= group for group in EQUIVALENT_SCHEDULERS):
        return 0.0, Why.OTHER_SCHEDULER()
    keys = ("scheduler", "scheduler_args", "model_id")
    one, other = (spacing(*(side.fields[key] for key in keys)) for side in (left, right))
    for value in (one, other):
        if isinstance(value, Unknown):
            return None, value.why
    if one == other and one in EQUIVALENT_SPACINGS:
        return 1.0, Why.EQUIVALENT_SCHEDULERS()
    return 0.0, Why.OTHER_TIMESTEPS()


def _is_number(value: Value) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _credit_value(
    expected: Value, found: Value, tolerance: float
) -> tuple[float | None, Reason | None]:
    if _is_number(expected) and _is_number(found):
        try:
            size = max(abs(expected), abs(found))
            difference = abs(expected - found) / size if size else 0.0
        except OverflowError:  # a whole number that no float can hold
            difference = 1.0
        if difference <= tolerance:
            return 1.0, Why.WITHIN(tolerance=tolerance)
        return max(0.0, 1.0 - difference), Why.OFF_BY(difference=difference)
    if isinstance(expected, AbstractDict) and isinstance(found, AbstractDict):
        return _credit_entries(expected, found, tolerance)
    verdict = equal(expected, found)
    return (None, _why_unknown(expected, found)) if verdict is None else (float(verdict), None)


def _credit_entries(
    expected: AbstractDict, found: AbstractDict, tolerance: float
) -> tuple[float | None, Reason | None]:
    """Return the mean credit of the entries that are known, and the reason for each loss."""
    credits: list[float] = []
    reasons: list[Reason] = []
    for key in expected.slots | found.slots:
        if key is AbstractDict.open:
            continue
        if key in expected.slots and key in found.slots:
            credit, why = _credit_value(expected.slots[key], found.slots[key], tolerance)
            why = None if equal(expected.slots[key], found.slots[key]) else why
        else:
            credit = 0.0
            why = Why.MISSING() if key in expected.slots else Why.NOT_ASKED_FOR()
        if credit is not None:
            credits.append(credit)
        if why is not None:
            reasons.append(Why.ENTRY(why, key=str(key)))
    why = Why.ENTRIES(*reasons) if reasons else None
    return (sum(credits) / len(credits) if credits else None), why
