"""What a task's rows say together, and whether fewer steps do as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from worker.results import disturbances, statistics
from worker.results.device_time import DeviceTimes
from worker.results.frontier import Best, Bound, best, bound, frontier
from worker.results.null_arm import NOT_TIMED, NullArm, Told
from worker.results.row import MEASURED, NON_FINITE, OUT_OF_MEMORY, WORTHLESS, Measurement, Row

Spread = dict[str, dict[str, list[float]]]
"""For each configuration ``{"speedup": [least, most], "quality_loss": [least, most]}``."""


@dataclass(frozen=True)
class Counts:
    """How many configurations there were, the baseline included."""

    planned: int
    measured: int
    dropped: int = 0
    """By an adaptive search, before they were seen on all prompts."""


@dataclass(frozen=True)
class Summary:
    """The last line of a finished task; its keys stand at the top of the checkpoint."""

    images_generated: int
    """All of them: of the baseline, untimed, timed, retaken, scored, profiled."""
    configurations: Counts
    out_of_memory: Sequence[str]
    """Labels of what did not fit."""
    non_finite: Sequence[str]
    """Labels of what overflowed."""
    max_loss: float
    frontier: Sequence[str]
    """Labels, the slowest first."""
    gpu_seconds: float | None = None
    """For which the device was measured on, loading apart; None where no row tells."""
    null_arm: NullArm | None = None
    """None where there is nothing that it could judge."""
    told_apart: Mapping[str, Told] = field(default_factory=dict)
    """Of each candidate by its label."""
    bound: Mapping[str, Bound] = field(default_factory=dict)
    """Of each candidate by its label; empty where no quality was measured."""
    beats_fewer_steps: Mapping[str, statistics.Comparison] = field(default_factory=dict)
    """Of each candidate by its label; empty where no quality was measured."""
    worthless: Mapping[str, str] = field(default_factory=dict)
    """Why the images of a configuration are worth nothing, by its label."""
    best: Best | None = None
    device_times: DeviceTimes | None = None
    """None where the device's time is not known."""
    disturbed: str | None = None
    """How many of the timed batches were disturbed, and by what; None where none was."""
    beside_load: Sequence[str] = ()
    """Labels of those whose speed-up disturbed rounds are part of."""
    is_timed: bool = True
    """Whether speed was measured."""
    confirmation: Summary | None = None
    """None where nothing was measured again on other prompts."""
    stability: Spread | None = None
    """None where no study of it was asked for."""
    search: Mapping[str, Any] | None = None
    """What an adaptive search wanted, chose, and why it stopped; None of a grid."""
    overhead: float | None = None
    """Share of the evaluation's time that was not spent in the pipeline; None if none was."""

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in a results file; what was not asked for is left out."""
        plain: dict[str, Any] = {
            "images_generated": self.images_generated,
            **({} if self.gpu_seconds is None else {"gpu_seconds": round(self.gpu_seconds, 3)}),
            "configurations": asdict(self.configurations),
            "out_of_memory": list(self.out_of_memory),
            "not_numbers": list(self.non_finite),
            "max_loss": self.max_loss,
            "frontier": list(self.frontier),
        }
        if self.worthless:
            plain["worthless"] = dict(self.worthless)
        plain |= self._judged_as_json()
        if self.best is not None:
            plain |= self.best.as_json()
        if self.device_times is not None:
            plain |= self.device_times.as_json()
        if self.disturbed is not None:
            plain["disturbed"] = self.disturbed
        if self.beside_load:
            plain["beside_load"] = list(self.beside_load)
        if conclusion := self.conclusion():
            plain["conclusion"] = conclusion
        if self.confirmation is not None:
            plain["confirmation"] = self.confirmation.as_json()
        if self.stability is not None:
            plain["stability"] = self.stability
        if self.search is not None:
            plain["search"] = dict(self.search)
        if self.overhead is not None:
            plain["overhead"] = self.overhead
        return plain

    def _judged_as_json(self) -> dict[str, Any]:
        """Return what is said of the configurations one by one."""
        plain: dict[str, Any] = {} if self.is_timed else {"timed": False}
        if self.null_arm is not None:
            plain["null_arm"] = self.null_arm.as_json()
            plain["told_apart"] = {name: told.as_json() for name, told in self.told_apart.items()}
        if self.bound:
            plain["bound"] = {label: answered.as_json() for label, answered in self.bound.items()}
            if self.is_timed:
                plain["beats_fewer_steps"] = dict(self.beats_fewer_steps)
        return plain

    def conclusion(self) -> str:
        """Return the best, and how far it can be trusted, as the scheduler shows it."""
        if not self.is_timed:
            return "; ".join(filter(None, ("speed was not measured", self._kept_bound())))
        best = None if self.best is None else self.best.in_words()
        null = None if self.null_arm is None else self.null_arm.in_words()
        load = disturbances.beside_load_in_words(len(self.beside_load))
        return "; ".join(filter(None, (best, self._open(), load, self._host_bound(), null)))

    def _kept_bound(self) -> str | None:
        if not self.bound:
            return None
        within = sum(answered.answer == "within" for answered in self.bound.values())
        return f"{within} of {len(self.bound)} within a loss of {100 * self.max_loss:g}%"

    def _open(self) -> str | None:
        """Return of how many candidates the speed is open: that nothing was best is then no finding."""
        count = sum(told.speed == "cannot tell" for told in self.told_apart.values())
        if not count or (self.best is not None and self.best.label != "baseline"):
            return None
        return f"cannot tell {count} of {len(self.told_apart)} from the baseline by speed"

    def _host_bound(self) -> str | None:
        if self.device_times is None:
            return None
        return self.device_times.in_words(None if self.best is None else self.best.label)


def summarise(rows: Sequence[Measurement], max_loss: float) -> Summary:
    """Return the summary of a finished task.

    Args:
        rows: one row for each configuration of the plan.
        max_loss: the relative loss of quality that is allowed.
    """
    measured = [row for row in rows if row.status == MEASURED]
    candidates = [row for row in measured if row.role == "candidate"]
    judged = candidates if any(row.estimate_of("quality_loss") for row in candidates) else []
    null = NullArm.of(rows)
    compared = any(row.role == "candidate" or row.is_null_arm for row in rows)
    return Summary(
        images_generated=sum(row.images_generated for row in rows),
        gpu_seconds=gpu_seconds(rows),
        configurations=Counts(planned=len(rows), measured=len(rows)),
        out_of_memory=[row.label for row in rows if row.status == OUT_OF_MEMORY],
        non_finite=[row.label for row in rows if row.status == NON_FINITE],
        worthless={row.label: row.status for row in rows if row.status in WORTHLESS},
        max_loss=max_loss,
        frontier=[row.label for row in frontier(measured)],
        null_arm=null if compared else None,
        told_apart={row.label: Told.of(row, null) for row in candidates},
        bound={row.label: bound(row, max_loss) for row in judged},
        beats_fewer_steps={row.label: beats_fewer_steps(row, measured) for row in judged},
        best=best(measured, max_loss, null),
        device_times=DeviceTimes.of(measured),
        disturbed=disturbances.in_words(measured),
        beside_load=[row.label for row in measured if disturbances.is_beside_load(row)],
        is_timed=not measured or any(row.is_timed for row in measured),
    )


def gpu_seconds(rows: Sequence[Measurement]) -> float | None:
    """Return for how long the device was measured on for these rows; None where none of them tells."""
    known = [taken for row in rows if (taken := row.value_of("gpu_seconds")) is not None]
    return sum(known) if known else None


def beats_fewer_steps(row: Measurement, rows: Sequence[Measurement]) -> statistics.Comparison:
    """Say whether a configuration is faster than fewer steps are at the same loss.

    A difference between the two that is less than what the null arm came out at says nothing.
    """
    candidate = _arm(row)
    controls = [_arm(other) for other in rows if other.has_other_steps]
    known = [arm for arm in controls if arm is not None]
    if candidate is None or not known:
        return "cannot tell yet"
    return statistics.beats(candidate, known, NullArm.of(rows).least_difference(row) or 0)


def _arm(row: Measurement) -> statistics.Arm | None:
    """Return a row's single figures; None: too few to decide by, or not as many as the baseline's."""
    figures = row.samples
    paired = len(figures.baseline_seconds) == len(figures.seconds) and (
        len(figures.baseline_clip_score) == len(figures.clip_score)
    )
    enough = len(figures.clip_score) >= statistics.FEWEST_IMAGES
    if not paired or not enough or len(figures.seconds) < statistics.FEWEST_PAIRS:
        return None
    return statistics.Arm(
        _floats(disturbances.undisturbed(figures.baseline_seconds, figures.disturbed_rounds)),
        _floats(disturbances.undisturbed(figures.seconds, figures.disturbed_rounds)),
        _floats(figures.baseline_clip_score),
        _floats(figures.clip_score),
    )


def _floats(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def in_words(summary: Summary) -> list[str]:
    """Return the summary as lines for the log."""
    lines = [] if summary.is_timed else ["no speed was measured: search.timing is off"]
    lines += _null_arm_in_words(summary.null_arm)
    if summary.confirmation is not None:
        again = _null_arm_in_words(summary.confirmation.null_arm)
        lines += [f"confirmation: {line}" for line in again]
    if summary.frontier:
        lines.append(f"frontier: {', '.join(summary.frontier)}")
    for label, told in summary.told_apart.items():
        beside = " (from disturbed rounds)" if label in summary.beside_load else ""
        lines.append(f"{label}: {told.in_words(beside)}{_bound_in_words(summary, label)}")
    if summary.best is not None:
        lines.append(f"within a loss of {100 * summary.max_loss:g}%: {summary.best.in_words()}")
    host_bound = summary.device_times and summary.device_times.in_words(None)
    if host_bound:
        lines.append(host_bound)
    if summary.disturbed is not None:
        lines.append(summary.disturbed)
    return lines


def _null_arm_in_words(null: NullArm | None) -> list[str]:
    if null is None:
        return []
    of_speed = null.in_words() if null.unknown != NOT_TIMED else None
    return [said for said in (of_speed, null.loss_in_words()) if said is not None]


def _bound_in_words(summary: Summary, label: str) -> str:
    answered = summary.bound.get(label)
    if answered is None:
        return ""
    hint = f" (about {answered.images} images might decide)" if answered.images else ""
    said = f"; loss within {100 * summary.max_loss:g}%: {answered.answer}{hint}"
    if not summary.is_timed:
        return said
    return f"{said}; better than fewer steps: {summary.beats_fewer_steps[label]}"


def spread(studies: Mapping[str, Sequence[Row]]) -> Spread:
    """Return how far each configuration's figures lie apart between studies.

    Args:
        studies: the rows of each study, in the same order of configurations.
    """
    apart: Spread = {}
    for same in zip(*studies.values(), strict=True):
        label = same[0].label.removesuffix(f" ({same[0].study})")
        for name in ("speedup", "quality_loss"):
            values = [value for row in same if (value := row.value_of(name)) is not None]
            if values:
                apart.setdefault(label, {})[name] = [min(values), max(values)]
    return apart
