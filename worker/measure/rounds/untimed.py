"""What is measured of each configuration after the timed rounds, since it would disturb them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from worker.errors import UnknownFigureError, WorkerError
from worker.measure.context import EvaluationContext
from worker.measure.rounds.call import Batch, generate
from worker.measure.rounds.retaking import ATTEMPTS
from worker.measure.samples import Samples
from worker.metrics import device_time, energy
from worker.metrics.host import Disturbance
from worker.search.configuration import Configuration

T = TypeVar("T")

_OF_ENERGY = ("energy_per_image", "mean_power", "idle_power")
# share of the calls' time that the host may disturb: such a call takes a third longer, say, and the
# device idles for that third
_MOST_DISTURBED = 0.1
# The device's clock follows its power and heat, so one call is not enough: at least the fewest, then
# until each configuration has computed for these seconds, but no more than the most.
_FEWEST_PROFILED = 3
_SECONDS_PROFILED = 2.0
_MOST_PROFILED = 7


def add_energy(context: EvaluationContext, block: Sequence[Samples]) -> None:
    """Measure what each configuration's images take, or say in its samples why it is not known."""
    if context.settings.timing.is_off:
        return
    wanted = context.settings.timing.energy
    never = context.meter.why_no_energy() if wanted else "timing.energy is false"
    for samples in block:
        if samples.failure is not None:
            continue
        try:
            if never is not None:
                raise UnknownFigureError(never)
            samples.energy = _undisturbed(
                context,
                samples,
                lambda call: energy.measure(context.meter.joules, call),
                most_on_host=_MOST_DISTURBED,
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

    @property
    def is_settled(self) -> bool:
        """Whether no further call is needed."""
        enough = len(self.seconds) >= _FEWEST_PROFILED and sum(self.seconds) >= _SECONDS_PROFILED
        return enough or self.unknown is not None

    def add(self, take: Callable[[Samples], float]) -> None:
        """Add the seconds of one more call, or the reason why they are not known."""
        if self.unknown is None:
            try:
                self.seconds.append(take(self.samples))
            except UnknownFigureError as error:
                self.unknown = str(error)
                self.seconds.clear()


def profile(
    context: EvaluationContext, configurations: Sequence[Configuration]
) -> list[DeviceTime]:
    """Profile some calls of each configuration, turn by turn, after one that is not profiled.

    Nothing is to be timed afterwards: in some versions of torch and CUDA every launch takes longer
    once a process has profiled.
    """
    found = [DeviceTime(Samples(configuration)) for configuration in configurations]
    for item in found:
        item.add(lambda samples: FurtherCalls(context, samples).another())
        item.seconds.clear()
    for _ in range(_MOST_PROFILED):
        for item in found:
            # kernels take as long whatever the host does in between
            item.add(
                lambda samples: _undisturbed(
                    context, samples, device_time.device_seconds, most_on_host=1.0
                )
            )
        if all(item.is_settled for item in found):
            break
    return found


def _undisturbed(
    context: EvaluationContext,
    samples: Samples,
    take: Callable[[Callable[[], float]], T],
    most_on_host: float,
) -> T:
    """Take a figure of calls of one configuration, again where something disturbed them.

    Args:
        context: the pipeline and its task.
        samples: of the configuration.
        take: given a function that calls once and returns the seconds, returns the figure.
        most_on_host: share of the calls' time that the host may have disturbed.

    Raises:
        UnknownFigureError: it cannot be had, or was disturbed at every try.
    """
    disturbance = None
    for _ in range(ATTEMPTS):
        calls = FurtherCalls(context, samples)
        figure = take(calls.another)
        disturbance = calls.disturbance(most_on_host)
        if disturbance is None:
            return figure
    raise UnknownFigureError(str(disturbance))


@dataclass(frozen=True)
class FurtherCalls:
    """Further calls of a configuration that was measured; its samples stay as they are."""

    context: EvaluationContext
    samples: Samples
    made: list[Batch] = field(default_factory=list)
    """Without their images."""

    def another(self) -> float:
        """Make one more batch and return the seconds that it took.

        Raises:
            UnknownFigureError: this call fails, though others did not.
        """
        apart = Samples(self.samples.configuration)
        try:
            batch = generate(self.context, apart, self.context.batch(0))
        except WorkerError as error:
            raise UnknownFigureError(f"a further call failed: {error}") from error
        self.samples.spent += apart.spent
        self.samples.made += apart.made
        if batch is None:
            raise UnknownFigureError(f"a further call failed: {apart.failure}")
        self.made.append(replace(batch, images=None))
        return batch.seconds

    def disturbance(self, most_on_host: float) -> Disturbance | None:
        """Return what disturbed the calls on the device, or on the host for longer than may be."""
        # a figure may be waited for beyond the last call, and somebody may have come then
        readings = [*(call.reading for call in self.made), self.context.meter.stop()]
        on_device = [reading.disturbance for reading in readings]
        on_host = [call for call in self.made if call.host.disturbance is not None]
        share = sum(call.seconds for call in on_host) / sum(call.seconds for call in self.made)
        reasons = [*on_device, on_host[0].host.disturbance if share > most_on_host else None]
        return next(filter(None, reasons), None)
