"""What is measured of each configuration after the timed rounds, since it would disturb them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from worker.errors import UnknownFigureError, WorkerError
from worker.measure.context import EvaluationContext
from worker.measure.rounds.call import Batch, generate
from worker.measure.samples import Samples
from worker.metrics import device_time, energy
from worker.search.configuration import Configuration

T = TypeVar("T")

_OF_ENERGY = ("energy_per_image", "mean_power", "idle_power")
# how often a disturbed figure is measured before it is given up
_ATTEMPTS = 3
# the device's clock follows its power and heat; their median is good to about a hundredth
_PROFILED_CALLS = 3


def add_energy(context: EvaluationContext, block: Sequence[Samples]) -> None:
    """Measure what each configuration's images take, or say in its samples why it is not known."""
    wanted = context.settings.timing.energy
    never = context.meter.why_no_energy() if wanted else "timing.energy is false"
    for samples in block:
        if samples.failure is not None:
            continue
        try:
            if never is not None:
                raise UnknownFigureError(never)
            samples.energy = _undisturbed(
                context, samples, lambda call: energy.measure(context.meter.joules, call)
            )
        except UnknownFigureError as error:
            samples.absent |= dict.fromkeys(_OF_ENERGY, str(error))


@dataclass
class DeviceTime:
    """How long the device computes for one batch of a configuration."""

    samples: Samples
    seconds: list[float] = field(default_factory=list)
    """Of each profiled call; none where it is not known."""
    unknown: str | None = None
    """Why it is not known, if it is not."""


def profile(
    context: EvaluationContext, configurations: Sequence[Configuration]
) -> list[DeviceTime]:
    """Profile some calls of each configuration, turn by turn, after one that is not profiled.

    Nothing is to be timed afterwards: in some versions of torch and CUDA every launch takes longer
    once a process has profiled.
    """
    found = [DeviceTime(Samples(configuration)) for configuration in configurations]
    for turn in range(1 + _PROFILED_CALLS):
        for item in found:
            if item.unknown is not None:
                continue
            try:
                if turn == 0:
                    _call_again(context, item.samples)
                else:
                    seconds = _undisturbed(context, item.samples, device_time.device_seconds)
                    item.seconds.append(seconds)
            except UnknownFigureError as error:
                item.unknown = str(error)
                item.seconds.clear()
    return found


def _undisturbed(
    context: EvaluationContext, samples: Samples, take: Callable[[Callable[[], float]], T]
) -> T:
    """Take a figure of calls of one configuration, again where something disturbed them.

    Args:
        context: the pipeline and its task.
        samples: of the configuration.
        take: given a function that calls once and returns the seconds, returns the figure.

    Raises:
        UnknownFigureError: it cannot be had, or was disturbed at every try.
    """
    disturbance = None
    for _ in range(_ATTEMPTS):
        figure, disturbance = _take(context, samples, take)
        if disturbance is None:
            return figure
    raise UnknownFigureError(disturbance)


def _take(
    context: EvaluationContext, samples: Samples, take: Callable[[Callable[[], float]], T]
) -> tuple[T, str | None]:
    """Return a figure of calls of one configuration, and what disturbed them, if anything did."""
    disturbances = []

    def call() -> float:
        batch = _call_again(context, samples)
        disturbances.append(batch.reading.spoiled)
        return batch.seconds

    figure = take(call)
    # a figure may be waited for beyond the last call, and somebody may have come then
    disturbances.append(context.meter.stop().spoiled)
    return figure, next(filter(None, disturbances), None)


def _call_again(context: EvaluationContext, samples: Samples) -> Batch:
    """Make one more batch with a configuration that was measured; its samples stay as they are.

    Raises:
        UnknownFigureError: this call fails, though others did not.
    """
    apart = Samples(samples.configuration)
    try:
        batch = generate(context, apart, context.batches()[0])
    except WorkerError as error:
        raise UnknownFigureError(f"a further call failed: {error}") from error
    samples.spent += apart.spent
    if batch is None:
        raise UnknownFigureError(f"a further call failed: {apart.failure}")
    return batch
