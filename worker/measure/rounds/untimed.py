"""What is measured of each configuration after the timed rounds, since it would disturb them."""

from __future__ import annotations

from collections.abc import Sequence

from worker.errors import WorkerError
from worker.measure.context import EvaluationContext
from worker.measure.rounds.call import Batch, generate
from worker.measure.samples import Samples
from worker.metrics.energy import Energy, EnergyUnknownError, measure

_OF_ENERGY = ("energy_per_image", "mean_power", "idle_power")
# how often a disturbed stretch is measured before its figure is given up
_ATTEMPTS = 3


class FailedCallError(Exception):
    """A call that makes no figure; the message is the reason."""


def add_energy(context: EvaluationContext, block: Sequence[Samples]) -> None:
    """Measure what each configuration's images take, or say in its samples why it is not known."""
    wanted = context.settings.timing.energy
    never = context.meter.why_no_energy() if wanted else "timing.energy is false"
    for samples in block:
        if samples.failure is not None:
            continue
        try:
            if never is not None:
                raise EnergyUnknownError(never)
            samples.energy = _energy(context, samples)
        except (EnergyUnknownError, FailedCallError) as error:
            samples.absent |= dict.fromkeys(_OF_ENERGY, str(error))


def _energy(context: EvaluationContext, samples: Samples) -> Energy:
    """Return what one configuration's images take; a disturbed stretch is measured again.

    Raises:
        EnergyUnknownError: it is not known.
        FailedCallError: it cannot be had.
    """
    disturbance = None
    for _ in range(_ATTEMPTS):
        energy, disturbance = _stretch(context, samples)
        if disturbance is None:
            return energy
    raise EnergyUnknownError(disturbance)


def _stretch(context: EvaluationContext, samples: Samples) -> tuple[Energy, str | None]:
    """Return what one stretch of calls took, and what disturbed it, if anything did.

    Raises:
        EnergyUnknownError: the counter is of no use.
        FailedCallError: a call fails.
    """
    disturbances = []

    def call() -> float:
        batch = call_again(context, samples)
        disturbances.append(batch.reading.spoiled)
        return batch.seconds

    energy = measure(context.meter.joules, call)
    # the counter was waited for beyond the last call, and somebody may have come then
    disturbances.append(context.meter.stop().spoiled)
    return energy, next(filter(None, disturbances), None)


def call_again(context: EvaluationContext, samples: Samples) -> Batch:
    """Make one more batch with a configuration that was measured; its samples stay as they are.

    Raises:
        FailedCallError: this call fails, though others did not.
    """
    apart = Samples(samples.configuration)
    try:
        batch = generate(context, apart, context.batches()[0])
    except WorkerError as error:
        raise FailedCallError(f"a further call failed: {error}") from error
    samples.spent += apart.spent
    if batch is None:
        raise FailedCallError(f"a further call failed: {apart.failure}")
    return batch
