"""How long a call of the denoiser took, by what was measured before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from worker.errors import WorkerError
from worker.models.catalogue import find_sched
from worker.results.answers.reading import read
from worker.results.row import MEASURED, Measurement, Row


def seconds_per_call(
    files: Sequence[Path], pipe: str, batch_size: int
) -> tuple[Mapping[str, float], int]:
    """Return the seconds of a call by the configuration's label, and how many rows they are from.

    A whole pipeline call is shared out over its calls of the denoiser, text encoder and decoder
    included: more steps come out a little dear.

    Args:
        files: results files, of tasks with any noise scheduler and number of steps.
        pipe: rows of this one count.
        batch_size: so do those of batches of this size.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    found: defaultdict[str, list[float]] = defaultdict(list)
    for file in files:
        for row in read(file).counting:
            if (seconds := _seconds(row, pipe, batch_size)) is not None:
                found[row.label].append(seconds)
    rates = {label: median(values) for label, values in found.items()}
    return rates, sum(map(len, found.values()))


def _seconds(row: Measurement, pipe: str, batch_size: int) -> float | None:
    batch = row.value_of("seconds_per_batch")
    if not isinstance(row, Row) or row.status != MEASURED or batch is None or batch <= 0:
        return None
    told = row.settings
    if (told.get("pipe"), told.get("batch_size")) != (pipe, batch_size):
        return None
    steps = row.configuration.get("steps", told.get("steps"))
    try:
        sched = find_sched(str(told.get("sched")))
    except WorkerError:
        return None
    return batch / sched.calls(steps) if isinstance(steps, int) and steps > 0 else None
