"""What a task's rows say together: the bound, the frontier, and whether fewer steps do as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.results import statistics
from worker.results.file import NON_FINITE, OUT_OF_MEMORY, Row, value_of
from worker.results.statistics import Estimate


def summarise(rows: Sequence[Row], max_loss: float) -> dict[str, Any]:
    """Return the summary of a finished task; its keys stand at the top of the checkpoint.

    Args:
        rows: one row for each configuration of the plan.
        max_loss: the relative loss of quality that is allowed.
    """
    measured = [row for row in rows if row["status"] == "measured"]
    candidates = [row for row in measured if row["role"] == "candidate"]
    summary: dict[str, Any] = {
        "images_generated": sum(int(value_of(row, "images") or 0) for row in measured),
        "configurations": len(rows),
        "out_of_memory": _with_status(rows, OUT_OF_MEMORY),
        "not_numbers": _with_status(rows, NON_FINITE),
        "max_loss": max_loss,
        "frontier": [row["label"] for row in frontier(measured)],
    }
    if any(_estimate(row, "quality_loss") for row in candidates):
        summary["bound"] = {row["label"]: bound(row, max_loss) for row in candidates}
        summary["beats_fewer_steps"] = {
            row["label"]: beats_fewer_steps(row, measured) for row in candidates
        }
    best = _best(candidates, max_loss)
    if best is not None:
        summary |= {
            "best": best["label"],
            "speedup": value_of(best, "speedup"),
            "loss": value_of(best, "quality_loss"),
            "within": bound(best, max_loss)["answer"] == "within",
        }
    return summary


def _with_status(rows: Sequence[Row], status: str) -> list[str]:
    return [row["label"] for row in rows if row["status"] == status]


def bound(row: Row, max_loss: float) -> dict[str, Any]:
    """Return the answer to the bound, and how many images would probably decide an open one."""
    loss = _estimate(row, "quality_loss")
    if loss is None:
        return {"answer": "cannot tell yet", "images": None}
    said = statistics.answer(loss, max_loss)
    images = int(value_of(row, "images_scored") or 0)
    enough = statistics.images_to_decide(loss, max_loss, images)
    if images < statistics.FEWEST_IMAGES:
        return {"answer": "cannot tell yet", "images": max(statistics.FEWEST_IMAGES, enough or 0)}
    if said != "cannot tell yet":
        return {"answer": said}
    return {"answer": said, "images": enough}


def frontier(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other beats in both speed-up and quality, the slowest first.

    A gain of quality counts only where its whole interval is one. Else it is a tie with the
    baseline, or chance would let configurations stand that are slower than it.

    The null arm is left out: it is the baseline with other latents, not a way to be faster. Where
    no quality was measured there is no frontier.
    """
    points = [
        (row, 1.0 if row["role"] == "baseline" else value_of(row, "speedup"), _proven_loss(row))
        for row in rows
        if "seeds" not in row["configuration"]
    ]
    known = [(row, speed, loss) for row, speed, loss in points if None not in (speed, loss)]
    kept = [
        (row, speed)
        for row, speed, loss in known
        if not any(
            (other_speed >= speed and other_loss <= loss)  # type: ignore[operator]
            and (other_speed > speed or other_loss < loss)  # type: ignore[operator]
            for _, other_speed, other_loss in known
        )
    ]
    if len(known) < 2:
        return []
    return [row for row, _ in sorted(kept, key=lambda item: item[1] or 0.0)]


def beats_fewer_steps(row: Row, rows: Sequence[Row]) -> statistics.Comparison:
    """Say whether a configuration is faster than fewer steps are at the same loss."""
    candidate = _arm(row)
    controls = [_arm(other) for other in rows if "steps" in other["configuration"]]
    known = [arm for arm in controls if arm is not None]
    if candidate is None or not known:
        return "cannot tell yet"
    return statistics.beats(candidate, known)


def _arm(row: Row) -> statistics.Arm | None:
    """Return a row's single figures, or None where they are too few to decide anything by."""
    names = ("baseline_seconds", "seconds", "baseline_clip_score", "clip_score")
    arm = statistics.Arm(*(row["samples"].get(name, ()) for name in names))
    if len(arm.scores) < statistics.FEWEST_IMAGES or len(arm.seconds) < statistics.FEWEST_PAIRS:
        return None
    return arm


def _best(candidates: Sequence[Row], max_loss: float) -> Row | None:
    """Return the fastest candidate that keeps the bound; else one that may keep it.

    Where no quality was measured nothing is best: the fastest way to a picture is to make none.
    """
    scored = [(row, loss) for row in candidates if (loss := _loss(row)) is not None]
    sure = [row for row, _ in scored if bound(row, max_loss)["answer"] == "within"]
    likely = [row for row, loss in scored if loss <= max_loss]
    return max(sure or likely, key=lambda row: value_of(row, "speedup") or 0.0, default=None)


def _loss(row: Row) -> float | None:
    return 0.0 if row["role"] == "baseline" and _scored(row) else value_of(row, "quality_loss")


def _proven_loss(row: Row) -> float | None:
    """Return the loss, or 0 where it is a gain that may be chance."""
    loss, estimate = _loss(row), _estimate(row, "quality_loss")
    if loss is None or estimate is None or loss >= 0:
        return loss
    surely = _scored_enough(row) and estimate.high is not None and estimate.high < 0
    return loss if surely else 0.0


def _scored(row: Row) -> bool:
    return value_of(row, "clip_score") is not None


def _scored_enough(row: Row) -> bool:
    return (value_of(row, "images_scored") or 0) >= statistics.FEWEST_IMAGES


def _estimate(row: Row, name: str) -> Estimate | None:
    for metric in row["metrics"]:
        if metric["name"] == name and metric["value"] is not None:
            return Estimate(metric["value"], metric["low"], metric["high"])
    return None


def in_words(summary: dict[str, Any]) -> list[str]:
    """Return the summary as lines for the log."""
    lines = []
    if summary["frontier"]:
        lines.append(f"frontier: {', '.join(summary['frontier'])}")
    for label, said in summary.get("bound", {}).items():
        more = said.get("images")
        hint = f" (about {more} images might decide)" if more else ""
        steps = summary["beats_fewer_steps"][label]
        lines.append(
            f"{label}: loss within {100 * summary['max_loss']:g}%: {said['answer']}{hint}; "
            f"better than fewer steps: {steps}"
        )
    return lines


def spread(studies: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Return how far each configuration's figures lie apart between studies.

    Args:
        studies: the rows of each study, in the same order of configurations.

    Returns:
        For each configuration ``{"speedup": [least, most], "quality_loss": [least, most]}``.
    """
    apart: dict[str, Any] = {}
    for same in zip(*studies.values(), strict=True):
        label = same[0]["label"].removesuffix(f" ({same[0]['study']})")
        for name in ("speedup", "quality_loss"):
            values = [value for row in same if (value := value_of(row, name)) is not None]
            if values:
                apart.setdefault(label, {})[name] = [min(values), max(values)]
    return apart
