"""The device's own time beside wall time, and whether the host sets the pace of a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from worker.results.row import MEASURED, Measurement, Row, finite, metric
from worker.results.statistics import percentile

FIGURES = ("device_seconds", "device_busy_share", "speedup_device")
AWAITED = "follows the last timed call of the task"
"""Why a row does not have them yet: to profile makes the calls after it slower."""
TURNED_OFF = "timing.device_time is false"

# share of a call; with less a faster host would make calls shorter by a tenth and more
_BUSY = 0.9
# relative: how well the device's time of a few calls is known
_UNCERTAINTY = 0.01
# labels in one line
_MOST_NAMED = 3


@dataclass(frozen=True)
class DeviceTimes:
    """What the device's time says of a task's configurations."""

    speedups: Mapping[str, float]
    """By the device's time alone, of each that is not the baseline, by its label."""
    host_bound: Sequence[str]
    """Labels of those whose pace the host sets."""

    @classmethod
    def of(cls, rows: Sequence[Measurement]) -> DeviceTimes | None:
        """Return what rows of one study say, or None where no device's time is known."""
        if all(is_host_bound(row) is None for row in rows):
            return None
        speedups = {row.label: row.value_of("speedup_device") for row in rows}
        return cls(
            {label: gain for label, gain in speedups.items() if gain is not None},
            [row.label for row in rows if is_host_bound(row)],
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in a summary."""
        return {"speedup_device": dict(self.speedups), "host_bound": list(self.host_bound)}

    def in_words(self, best: str | None) -> str | None:
        """Return it as a clause, or None where the host sets no pace.

        Args:
            best: label of the configuration that the clause stands behind, if it is of one.
        """
        speedup = None if best is None else self.speedups.get(best)
        if best in self.host_bound and speedup is not None:
            return f"host-bound: by the device's time {speedup:.2f}×"
        if not self.host_bound:
            return None
        named = ", ".join(self.host_bound[:_MOST_NAMED])
        more = len(self.host_bound) - _MOST_NAMED
        return f"host-bound: {named}" + (f" and {more} more" if more > 0 else "")


def added_to(
    row: Row, seconds: Sequence[float], baseline: Sequence[float], unknown: str | None
) -> Row:
    """Return a row with the device's time in it, or with the reason why that is not known.

    Args:
        row: a measured one.
        seconds: for how long the device computed in each profiled call.
        baseline: the same of the baseline's calls in the same turns; empty where it is not known.
        unknown: why the first is not known; None where it is.
    """
    if unknown is not None:
        return row.model_copy(update={"absent": row.absent | dict.fromkeys(FIGURES, unknown)})
    own = median(seconds)
    # what disturbs a call makes it slower: the lower quartile is the middle of the undisturbed half
    wall = percentile([taken for taken in row.samples.seconds if taken is not None], 25)
    found = [
        metric("device_seconds", own, "s", "lower"),
        metric("device_busy_share", own / wall, "", None),
    ]
    beside = [] if row.role == "baseline" else baseline
    if beside:
        # of calls in the same turn: the device's clock moves slowly
        gain = median(other / taken for other, taken in zip(beside, seconds, strict=True))
        found.append(metric("speedup_device", gain, "×", "higher"))
    figures = {"device_seconds": finite(seconds), "baseline_device_seconds": finite(beside)}
    return row.model_copy(
        update={
            "metrics": [*row.metrics, *found],
            "samples": row.samples.model_copy(update=figures),
            "absent": {name: why for name, why in row.absent.items() if name not in FIGURES},
        }
    )


def is_awaited(row: Measurement) -> bool:
    """Whether a row's device time is to be measured where it is asked for."""
    return row.status == MEASURED and row.absent.get("device_seconds") in (AWAITED, TURNED_OFF)


def is_host_bound(row: Measurement) -> bool | None:
    """Whether the host sets a configuration's pace; None where the device's time is not known.

    It does where the device computes for less than nine tenths of an undisturbed call, and where
    the speed-up by the device's time lies outside the interval of that by wall time: another host
    would then give another speed-up.
    """
    share = row.value_of("device_busy_share")
    if share is None:
        return None
    device, wall = row.value_of("speedup_device"), row.estimate_of("speedup")
    if share < _BUSY:
        return True
    if device is None or wall is None or wall.low is None or wall.high is None:
        return False
    return not wall.low * (1 - _UNCERTAINTY) <= device <= wall.high * (1 + _UNCERTAINTY)


def in_words(row: Measurement) -> str:
    """Return one line for the log."""
    seconds, share = row.value_of("device_seconds"), row.value_of("device_busy_share")
    if seconds is None or share is None:
        return f"{row.label}: device time not known: {row.absent['device_seconds']}"
    words = [f"{seconds:.3f} s a batch on the device", f"busy {share:.0%}"]
    gain = row.value_of("speedup_device")
    if gain is not None:
        words.append(f"{gain:.2f}x by device time")
    if is_host_bound(row):
        words.append("host-bound")
    return f"{row.label}: {', '.join(words)}"
