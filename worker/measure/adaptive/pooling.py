"""What several looks at a configuration say together, as one measurement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from worker.measure.rows import OF_IMAGES, of_images, of_loss
from worker.results.row import MEASURED, Figures, Measurement, Metric, Row, metric
from worker.results.statistics import Estimate

_JOINED = (*OF_IMAGES, "baseline_clip_score")
_COSTS = ("images_generated", "gpu_seconds")
_SUMMED = ("images", "images_scored", *_COSTS)
_OF_QUALITY = {*OF_IMAGES, "quality_loss", "efficiency", *_SUMMED}


def pooled(parts: Sequence[Row], label: str, loss: Estimate | None) -> Measurement:
    """Return one measurement: the speed of the first look, the quality of all images.

    Args:
        parts: a row of each look, in order.
        label: the configuration's own.
        loss: with its interval, which is to be wider than one that was looked at once.
    """
    first = parts[0]
    failed = [row for row in parts if row.status != MEASURED]
    if failed:
        update: dict[str, Any] = {"label": label, "status": failed[0].status, "samples": Figures()}
        # what it cost until then was spent all the same
        update["metrics"] = list(_sums(parts, _COSTS))
        return Measurement(**dict(_plain(first)) | update)
    joined = {
        name: [value for row in parts for value in getattr(row.samples, name)] for name in _JOINED
    }
    kept = [item for item in first.metrics if item.name not in _OF_QUALITY]
    update = {
        "label": label,
        "samples": first.samples.model_copy(update=joined),
        "metrics": [
            *kept,
            *_sums(parts, _SUMMED),
            *of_images({name: _known(joined[name]) for name in OF_IMAGES}),
            *(() if loss is None else of_loss(loss, first.value_of("speedup"))),
        ],
    }
    return Measurement(**dict(_plain(first)) | update)


def scores_of(row: Row) -> tuple[Sequence[float], Sequence[float]] | str:
    """Return the scores of the baseline and of a configuration, image by image; or why there are none."""
    if row.status != MEASURED:
        return row.status
    figures = row.samples
    own = [value for value in figures.clip_score if value is not None]
    beside = [value for value in figures.baseline_clip_score if value is not None]
    # one without a score would pair each that follows with another prompt's
    if not len(own) == len(beside) == len(figures.clip_score) > 0:
        return "some of its images, or of the baseline's, have no score"
    return beside, own


def _plain(row: Row) -> dict[str, Any]:
    """Return a row without what it depends on."""
    return {name: getattr(row, name) for name in Measurement.model_fields}


def _sums(parts: Sequence[Row], names: Iterable[str]) -> Iterator[Metric]:
    for name in names:
        found = [row.metric(name) for row in parts]
        known = [item for item in found if item is not None and item.value is not None]
        if known:
            total = sum(item.value for item in known if item.value is not None)
            yield metric(name, total, known[0].unit, known[0].better)


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
