"""The rows of a results file as typed objects, shared by what writes, reads and shows them.

docs/results-schema.md describes the JSON; a field's place here is its place there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    model_serializer,
)
from typing_extensions import Self

from worker.accelerators.spec import Role
from worker.results.statistics import Estimate

# what ``status`` says
MEASURED = "measured"
OUT_OF_MEMORY = "out of memory"
NON_FINITE = "images contain NaN or Inf"
NO_CONTRAST = "images have no contrast"
ALL_ALIKE = "images are all alike"
UNRELATED = "images have nothing to do with their captions"
WORTHLESS = (NON_FINITE, NO_CONTRAST, ALL_ALIKE, UNRELATED)
"""Each of these says that images were made, and are worth nothing."""
# what version 0.1.0 wrote in its place
_NON_FINITE_BEFORE = "images are not numbers"

Better = Literal["higher", "lower"]


def _todays_status(status: object) -> object:
    return NON_FINITE if status == _NON_FINITE_BEFORE else status


def _with_digest(settings: dict[str, object]) -> dict[str, object]:
    if not isinstance(settings.get("digest"), str):
        raise ValueError("settings are told apart by their digest")  # noqa: TRY004  pydantic's way
    return settings


class _Record(BaseModel):
    """Strict, so that what another version wrote in another form is not taken for something else."""

    model_config = ConfigDict(frozen=True, strict=True)


class Metric(_Record):
    """One figure with the ends of its 95 % interval, all None where they are not known."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: str
    # whole numbers stay whole in JSON
    value: int | float | None
    low: int | float | None = None
    high: int | float | None = None
    unit: str = ""
    better: Better | None = None


class Figures(_Record):
    """What the metrics were computed from: seconds by round or profiled call, scores by prompt.

    A list that holds nothing is not written.
    """

    seconds: list[float | None] = []
    clip_score: list[float | None] = []
    baseline_seconds: list[float | None] = []
    baseline_clip_score: list[float | None] = []
    psnr: list[float | None] = []
    ssim: list[float | None] = []
    lpips: list[float | None] = []
    arms: list[str] = []
    """Labels of all that were measured in turns, the baseline's first."""
    rounds: list[list[int]] = []
    """The calls of each round in their order, by the arms' numbers; a retaken one stands again."""
    disturbed_rounds: list[int] = []
    """Rounds, from 0, in which this one's batch or the baseline's stayed disturbed."""
    device_seconds: list[float | None] = []
    baseline_device_seconds: list[float | None] = []

    def score_pairs(self) -> list[tuple[float, float]]:
        """Return the CLIP scores of the baseline and of its own for each prompt that has both."""
        return [
            (beside, own)
            for beside, own in zip(self.baseline_clip_score, self.clip_score, strict=False)
            if beside is not None and own is not None
        ]

    @model_serializer
    def _as_json(self) -> dict[str, Sequence[object]]:
        return {name: values for name, values in self if values}


class Disturbed(_Record):
    """How many batches something of one kind disturbed."""

    retaken: int
    """Timed again."""
    kept: int
    """Disturbed at their last try as well, and taken as they were."""


class Picture(_Record):
    """One image that was kept."""

    file: str
    """Its name, from the folder of the results file."""
    prompt: str
    seed: int


class Measurement(_Record):
    """What was measured of one configuration."""

    role: Role
    label: str
    configuration: dict[str, object]
    status: Annotated[str, BeforeValidator(_todays_status)]
    metrics: list[Metric]
    samples: Figures
    disturbed: dict[str, Disturbed] = {}
    """What disturbed its timed batches: ``waited for a core``, …"""
    files: list[str] = []
    pictures: list[Picture] = []
    """Images of the first prompts, where some were kept."""
    absent: dict[str, str] = {}
    """Figures that could not be had, each with the reason."""

    @property
    def key(self) -> str:
        """A text that is equal for equal configurations."""
        return json.dumps(self.configuration, sort_keys=True)

    @property
    def is_null_arm(self) -> bool:
        """Whether this is the baseline with other starting latents."""
        return "seeds" in self.configuration

    @property
    def is_timed(self) -> bool:
        """Whether its speed was measured."""
        return bool(self.samples.seconds)

    @property
    def images_generated(self) -> int:
        """All images behind it, as far as the row tells: older ones know those of timed calls alone."""
        return int(self.value_of("images_generated") or self.value_of("images") or 0)

    @property
    def has_other_steps(self) -> bool:
        """Whether this is the control that has fewer steps than the task."""
        return "steps" in self.configuration

    def metric(self, name: str) -> Metric | None:
        """Return the metric of that name, or None."""
        # a loop: of ten thousand rows a generator for each would take a good part of the time
        for metric in self.metrics:
            if metric.name == name:
                return metric
        return None

    def value_of(self, name: str) -> float | None:
        """Return the value of the metric of that name, or None."""
        metric = self.metric(name)
        return None if metric is None else metric.value

    def estimate_of(self, name: str) -> Estimate | None:
        """Return the metric of that name with its interval, or None where its value is not known."""
        metric = self.metric(name)
        if metric is None or metric.value is None:
            return None
        return Estimate(metric.value, metric.low, metric.high)

    def reaches(self, precision: float) -> bool:
        """Say whether its speed-up is known to a precision; what has no speed-up has none to know.

        Args:
            precision: half of the interval's width as a share of the speed-up.
        """
        gain = self.estimate_of("speedup")
        half = None if gain is None else gain.relative_half_width
        return gain is None or (half is not None and half <= precision)

    def as_json(self) -> dict[str, Any]:
        """Return the measurement as plain data, in the order in which it is written."""
        return self.model_dump(exclude=self._unwritten())

    def with_pictures(self, kept: Sequence[Picture]) -> Self:
        """Return the measurement with images of it that were kept."""
        if not kept:
            return self
        files = [*self.files, *(picture.file for picture in kept)]
        return self.model_copy(update={"files": files, "pictures": [*kept]})

    def _unwritten(self) -> set[str]:
        """Return the fields that are left out where they hold nothing."""
        return {name for name in ("disturbed", "pictures") if not getattr(self, name)}


class Row(Measurement):
    """A measurement as it stands in a results file, with all that it depends on."""

    settings: Annotated[dict[str, object], AfterValidator(_with_digest)]
    environment: dict[str, object]
    reproduce: dict[str, object] = {}
    study: str | None = None
    """None for the task's own measurement."""

    @classmethod
    def of(
        cls,
        measurement: Measurement,
        *,
        absent: dict[str, str],
        settings: dict[str, object],
        environment: dict[str, object],
        reproduce: dict[str, object],
        study: str | None,
    ) -> Row:
        """Return a measurement with all that it depends on; ``absent`` joins what it lacks itself."""
        return cls(
            **dict(measurement) | {"absent": absent | measurement.absent},
            settings=settings,
            environment=environment,
            reproduce=reproduce,
            study=study,
        )

    @property
    def digest(self) -> str:
        """What tells the row's settings from others."""
        return str(self.settings["digest"])

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain data, in the order in which it is written."""
        return self.model_dump(exclude=self._unwritten())

    def _unwritten(self) -> set[str]:
        return super()._unwritten() | ({"study"} if self.study is None else set())


def read_rows(lines: Iterable[Mapping[str, Any]]) -> tuple[list[Row], int]:
    """Return the rows among the lines of a results file, and how many have another version's form.

    Lines without a configuration (summaries) are neither.
    """
    rows, others = [], 0
    for line in lines:
        if "configuration" in line:
            try:
                rows.append(Row.model_validate(line))
            except ValidationError:
                others += 1
    return rows, others


def metric(
    name: str,
    value: float | None,
    unit: str,
    better: Better | None,
    *,
    low: float | None = None,
    high: float | None = None,
) -> Metric:
    """Return one metric; what is not a finite number is not known: JSON has no word for it."""
    return Metric(
        name=name,
        value=_finite(value),
        low=_finite(low),
        high=_finite(high),
        unit=unit,
        better=better,
    )


def finite(values: Sequence[float]) -> list[float | None]:
    """Return numbers as they stand in a row: NaN and Inf are not known."""
    return [_finite(value) for value in values]


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
