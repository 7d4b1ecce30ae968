"""What a task asks of a pipeline, apart from how it is accelerated. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from worker.models.catalogue import Sched
from worker.models.families.base import Pipe
from worker.models.families.registry import family_of


@dataclass(frozen=True)
class Task:
    """What a plan depends on."""

    pipe: Pipe
    sched: Sched
    steps: int
    image_size: int | None = None
    """Pixels; None: the pipe's own."""

    @property
    def calls(self) -> int:
        """UNet calls for one image."""
        return self.sched.calls(self.steps)

    def at(self, amount: int | float) -> int:
        """Turn an amount in steps, or a fraction of the task's steps, into UNet calls."""
        steps = amount if isinstance(amount, int) else max(1, round(self.steps * amount))
        return self.sched.order * steps

    def side(self, downsample: int) -> int:
        """Return the height and width of the latent image where it is downsampled so much."""
        pixels = family_of(self.pipe.architecture).pixels_per_latent * downsample
        return -(-(self.image_size or self.pipe.image_size) // pixels)
