"""A timed batch, and whether its time counts: one that something disturbed is timed again."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from worker.measure.rounds.call import Batch
from worker.measure.samples import Samples
from worker.metrics.host import Disturbance

# how often what is disturbed is measured, before a batch's time is kept and another figure given up
ATTEMPTS = 3
# times the median of the arm's batches
_FAR_LONGER = 3.0
_FEWEST_TO_COMPARE = 3


def timed(samples: Samples, make: Callable[[], Batch | None]) -> Batch | None:
    """Make one batch, again where something disturbed it, and add its last time to the samples.

    Args:
        samples: of the batch's arm.
        make: makes and times the batch; None where its configuration failed.

    Returns:
        The batch of the last try, or None where the configuration failed.
    """
    batch = make()
    # what disturbed the last batch at every try will not be gone by trying this one again
    stays = bool(samples.disturbances) and samples.disturbances[-1] is not None
    for _ in range(0 if stays else ATTEMPTS - 1):
        disturbance = None if batch is None else _disturbance(batch, samples)
        if disturbance is None:
            break
        samples.retaken.append(disturbance)
        batch = make()
    if batch is None:
        return None
    samples.disturbances.append(_disturbance(batch, samples))
    samples.seconds.append(batch.seconds)
    samples.readings.append(batch.reading)
    samples.hosts.append(batch.host)
    return batch


def _disturbance(batch: Batch, samples: Samples) -> Disturbance | None:
    """Return why a batch's time does not count.

    Nothing counts for how long a worker on a GPU was stopped by a signal, or a virtual machine was
    frozen. But the same work never takes three times as long undisturbed. This looks at the time
    itself, for all arms alike; benchmarks/disturbed_rounds.py shows that no arm gains by it.
    """
    if batch.disturbance is not None or len(samples.seconds) < _FEWEST_TO_COMPARE:
        return batch.disturbance
    times = batch.seconds / median(samples.seconds)
    if times <= _FAR_LONGER:
        return None
    return Disturbance("took far longer than usual", f"{times:.0f} times")
