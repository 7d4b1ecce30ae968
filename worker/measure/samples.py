"""What one configuration gave while it was measured, before it becomes a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.metrics.contrast import Contrast
from worker.metrics.device import Reading
from worker.metrics.energy import Energy
from worker.metrics.host import Disturbance, HostReading
from worker.results.disturbances import undisturbed
from worker.search.configuration import Configuration
from worker.types import Tensor


@dataclass
class Samples:
    """What one configuration gave, in the order of the prompts."""

    configuration: Configuration
    arms: Sequence[str] = ()
    """Labels of all that it is measured with in turns, its own among them."""
    rounds: list[list[int]] = field(default_factory=list)
    """The calls of each round in their order, by the arms' numbers; a retaken one stands again."""
    setup_seconds: float | None = None
    """Seconds to put the accelerators in and out of the pipeline."""
    cold_seconds: float | None = None
    """Seconds of its very first batch."""
    spent: float = 0.0
    """Seconds in the pipeline altogether: cold, timed and retaken."""
    made: int = 0
    """Images altogether, those of untimed and retaken calls included."""
    seconds: list[float] = field(default_factory=list)
    """Seconds of each timed batch."""
    readings: list[Reading] = field(default_factory=list)
    """What was read from the device during each timed batch."""
    hosts: list[HostReading] = field(default_factory=list)
    """What the host did to each timed batch."""
    disturbances: list[Disturbance | None] = field(default_factory=list)
    """What disturbed each timed batch at its last try, if anything did."""
    retaken: list[Disturbance] = field(default_factory=list)
    """What disturbed each batch that was timed again."""
    peak_memory: int | None = None
    """Bytes of device memory at most, warm-ups apart; None on a CPU."""
    clip: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    lpips: list[float] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    """FID's features of the images, batch by batch, each of shape [batch, 2048]."""
    contrast: Contrast = field(default_factory=Contrast)
    """What the images show; untouched where no quality is measured."""
    pictures: dict[int, Tensor] = field(default_factory=dict)
    """Images to be kept, by the prompt's number: arrays of bytes, of shape [height, width, 3]."""
    images: int = 0
    """Images of the timed batches."""
    energy: Energy | None = None
    """What calls of it took, none of which were timed ones; None where it is not known."""
    absent: dict[str, str] = field(default_factory=dict)
    """Figures that could not be had, each with the reason."""
    failure: str | None = None
    """Why there is no measurement, as a row's ``status`` says it."""

    def disturbed_beside(self, baseline: Samples) -> list[int]:
        """Return the rounds in which this one's batch or the baseline's stayed disturbed."""
        either = {
            number
            for disturbances in (self.disturbances, baseline.disturbances)
            for number, why in enumerate(disturbances)
            if why is not None
        }
        return sorted(either)

    def pairs_with(self, baseline: Samples) -> tuple[list[float], list[float]]:
        """Return the seconds that a speed-up is taken from: the baseline's, and this one's."""
        disturbed = self.disturbed_beside(baseline)
        return undisturbed(baseline.seconds, disturbed), undisturbed(self.seconds, disturbed)
